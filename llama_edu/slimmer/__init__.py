"""Could a model be slimmer? What a token could do without, what it costs, and what it saves.

A loss is always a paired difference with a standard error (`losses`), a saving always a set of
pages. Nothing here is a speed.
"""
