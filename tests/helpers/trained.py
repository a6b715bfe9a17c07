"""tokenizer.model files trained on a few lines, with any setting of the sentencepiece library."""

from __future__ import annotations

import io

LINES = ["Snow fell on the lane.", "The two geese walked home.", "A hill and a lane"] * 20

#: LLaMA's own settings.
LLAMA = {
    "vocab_size": 290, "model_type": "bpe", "byte_fallback": True, "hard_vocab_limit": False,
    "normalization_rule_name": "identity", "remove_extra_whitespaces": False,
    "minloglevel": 3, "num_threads": 1,
}  # fmt: skip


def trained(path, settings):
    """A tokenizer.model with these settings, and the library's own reading of it."""
    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=model, **(LLAMA | settings)
    )
    path.write_bytes(model.getvalue())
    return SentencePieceProcessor(model_proto=model.getvalue())
