"""What people look at: text reports, figures, widgets. Only this room imports matplotlib or Jupyter."""
