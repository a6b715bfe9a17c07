"""Train a sentencepiece tokenizer of 1024 pieces with LLaMA's settings.

    python tools/train_tokenizer.py --corpus corpus --out data/stories/tokenizer.model

The same corpus gives the same bytes.
"""

import argparse
import io
from pathlib import Path

import sentencepiece
from make_corpus import read_stories

VOCAB_SIZE = 1024


def train_tokenizer(texts, path):
    """Train on texts and write the model to path; 0 <unk>, 1 <s>, 2 </s>, 3 to 258 the bytes."""
    lines = [line for text in texts for line in text.split("\n")]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=VOCAB_SIZE,
        byte_fallback=True,
        character_coverage=1.0,
        split_digits=True,
        normalization_rule_name="identity",
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    path.write_bytes(model.getvalue())


def main():
    parser = argparse.ArgumentParser(description="Train the tokenizer of the bundled model.")
    parser.add_argument("--corpus", type=Path, required=True, help="folder from make_corpus.py")
    parser.add_argument("--n-stories", type=int, default=8_000, help="read this many stories")
    parser.add_argument("--out", type=Path, required=True, help="the .model file")
    args = parser.parse_args()
    texts = read_stories(args.corpus / "train.txt")
    train_tokenizer(texts[: args.n_stories], args.out)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(args.out))
    n_tokens = [len(tokenizer.encode(text)) + 2 for text in texts[:1000]]
    print(
        f"{tokenizer.get_piece_size()} pieces, {sum(n_tokens) / len(n_tokens):.1f} tokens a story, "
        f"at most {max(n_tokens)} (<s> and </s> included)"
    )


if __name__ == "__main__":
    main()
