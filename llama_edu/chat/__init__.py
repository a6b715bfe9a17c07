"""A conversation with a model, through the template that its file brings along.

| module | what is in it |
|---|---|
| typed.py | text that remembers which of its characters a person or a model wrote |
| sandbox.py | the program of the process that renders templates, and does nothing else |
| renderer.py | that process, seen from here: started, limited in time, ended |
| template.py | which template a checkpoint has, or one of ours by name |
| prompt.py | messages to ids; what somebody types never becomes a special token |
| conversation.py | messages in, text out, over a cache that is kept from turn to turn |
"""
