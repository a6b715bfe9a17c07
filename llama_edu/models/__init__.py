"""Models by name: where the file or folder lies that a name or a path stands for.

| module | answers |
|---|---|
| `names` | `locate`: a path, a known name, or a name on the Hugging Face hub, as a path |
| `known` | which names are known, whether they are installed, and how to get them |
| `reference` | what `org/name` and `hf://org/name@revision/file` mean; all else is refused |
| `shard_names` | the names of the files of a split model |
| `weight_sets` | which files of a repository make up one model |
| `hub_cache` | what the hub's cache on this machine holds, read without any library |
| `hub` | what is not there, downloaded with the library huggingface_hub |
| `listing` | what is on this machine, for `llama-edu models` |

Formats are not looked at here: what a path holds is found by `files.detect`.
"""

from llama_edu.models.names import locate

__all__ = ["locate"]
