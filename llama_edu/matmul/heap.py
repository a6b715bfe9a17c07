"""Working memory that the process keeps between layers instead of returning it each time.

Every layer frees the same few megabytes that the next one allocates. By default, glibc returns each
large array to the system at once, and the system provides new pages, zeroed one fault at a time.
What products need for themselves does not depend on this, see workspace.py; what they return does:
for 128 positions of a model with 134M weights, 2,000 to 3,000 page faults and a fortieth of the
time. Where faults are counted, they would stand beside those of the file.
"""

from __future__ import annotations

import numpy as np

#: One mebibyte below the largest threshold that glibc adapts to on 64-bit machines.
_LARGEST_KEPT = 31 * 1024 * 1024


def keep_freed_memory() -> None:
    """Let the C library keep freed arrays of up to 31 MiB for later ones.

    glibc keeps arrays that are no larger than the largest one freed so far. So one is allocated and
    freed here; it is never touched, so it has no pages. On other systems this does nothing, nor
    where the environment sets a threshold, as MALLOC_TRIM_THRESHOLD_ does for dask's workers.

    Source: mallopt(3), "dynamic mmap threshold".
    """
    np.empty(_LARGEST_KEPT, np.uint8)
