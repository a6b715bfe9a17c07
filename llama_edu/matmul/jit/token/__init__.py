"""One position through the whole model as one compiled call: decode, without Python in between.

transformer/model.py is its definition: the same steps in the same order, and a test compares them.
It reads like the `forward` of llama2.c, with one addition: threads that take pieces of each step.

| module | what is in it |
|---|---|
| places.py | where everything stands in the tables of numbers |
| steps.py | norm, RoPE, attention of one head, gates |
| pieces.py | how threads share a step: a counter of pieces taken, one of pieces done |
| rows.py | x as each stored type wants it; rows of a matrix times x |
| functions.py | the steps of a layer, each of which all threads share |
| decode.py | the layers |
| tables.py | the tables of one model |
| team.py | the threads |
| pace.py | how many of them are worth it at the moment |
"""
