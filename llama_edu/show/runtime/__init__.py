"""What runs behind the panels."""
