"""What a terminal shows: reports as plain text."""
