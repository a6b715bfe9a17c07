"""A conversation with a model, through the template that its file brings along.

| module | what is in it |
|---|---|
| typed.py | text that remembers which of its characters a person or a model wrote |
| sandbox.py | the program of the process that renders templates, and does nothing else |
| renderer.py | that process, seen from here: started, limited in time, ended |
| named.py, template.py | templates of ours; which template a checkpoint has |
| prompt.py | messages to ids; what a user types never becomes a special token |
| messages.py | what a message is |
| conversation.py, answer.py | messages in, text out, over a cache that is kept between turns |
"""
