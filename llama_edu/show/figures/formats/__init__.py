"""Figures of weight files: where data start, how a matrix was cut, what a stored type costs."""
