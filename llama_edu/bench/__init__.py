"""How fast a model reads and writes on this machine: what `llama-edu bench` measures.

`measure` runs the tests, `report` is what comes of them; `stopwatch` and `other_programs` say what
was spent, and what else the machine did meanwhile.
"""
