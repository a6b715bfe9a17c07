"""How good is a file: nats per token of a text, with an error, and two files beside each other.

| module | what is in it |
|---|---|
| `losses` | -log p of each token by one model; what a changed model loses more, in pairs |
| `windows` | a text cut into windows, in our way and in llama.cpp's |
| `scores` | one window by one file or by several: the piece of work that workers share |
| `estimate` | a mean over windows, with its standard error |
| `judgement` | `judge`: everything of it, as a record with a table and a sentence for each file |
"""

from llama_edu.quality.judgement import Judgement, judge

__all__ = ["Judgement", "judge"]
