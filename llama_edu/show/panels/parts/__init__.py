"""What panels are composed of: each a few widgets and what they show."""
