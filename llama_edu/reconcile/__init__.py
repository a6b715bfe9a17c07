"""Was it a bug? Every step of the computation beside that of an independent program.

`trace` records the steps, `float64` is the definition that judges them, `detective` names the first
that differs, and `bugs` are planted to see whether it does.
"""
