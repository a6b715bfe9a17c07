"""The parts of panels: each has a few widgets and decides what they show."""
