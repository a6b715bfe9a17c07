"""Measured claims, one per file: each a function that measures and a record that prints itself.

EXPERIMENTS is the list that the command line offers. `observe/` holds no experiments, but what
several of them use, and the page map too.
"""

#: Name -> what it measures. The module and the function are called the same, with underscores.
EXPERIMENTS = {
    "illusion": "411,522 page faults were not 1.6 GB: faults against pages, warm and cold",
    "load-race": "mmap, read and others: time to open and for a first pass, private memory",
    "sharing": "several processes with one file: what each takes; --workers: real ones",
    "scale": "what one file costs on 1, 8 and 64 machines, from the speeds of this one",
    "memory-cap": "a file larger than the memory it may use: the cliff, and what helps",
    "random-reads": "pages in random order, as a database reads: mmap against pread",
    "sparse-parts": "which parts of a LLaMA a token really does not need",
    "neurons": "which neurons of a LLaMA a token could do without, and what that loses",
    "neurons-and-pages": "what skipping neurons saves of a file's pages, layout by layout",
    "experts": "a mixture of experts: the pages that one token needs, and that neighbors need",
    "slimmer": "what a model could do without: bytes and pages per token, and nats lost",
    "reconcile": "was it a bug? every step beside that of an independent program",
    "arithmetic": "what rounding activations to 8 or 4 bits costs, as llama.cpp does",
    "seeded-bugs": "bugs planted on purpose: which are found, and what cheap checks miss",
}
