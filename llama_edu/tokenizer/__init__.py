"""Text to token ids and back.

`protocol` defines what a tokenizer is; `choice` selects the one that a checkpoint needs:

| module | for | merges by |
|---|---|---|
| score_merge.py | vocabularies with scores (weight files, tokenizer.bin) | score, our own code |
| sentencepiece.py | tokenizer.model files | score, the sentencepiece library |
| bpe.py | byte-level vocabularies (Llama 3 and its family) | rank, the tokenizers library |

The first two give the same ids. `streaming` turns ids back into text, one at a time.
"""
