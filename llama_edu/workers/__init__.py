"""Work cut into pieces that any number of processes share through an engine that exists.

| module | what is in it |
|---|---|
| `pieces` | `each_done`: what `map=` must do, and a sentence for each way in which it does not |
| `opened` | what a piece names in place of an open model; each process opens it once |
| `pool` | `--workers N`: the standard library's ProcessPoolExecutor, with spawn |

Nothing here schedules, retries or queues: that is the engine's part.
"""
