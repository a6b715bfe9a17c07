"""The page map as a panel: each page of a weight file as a cell that lights up when needed."""
