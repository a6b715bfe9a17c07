"""Stories written by the exported model, and its loss compared with the entropy of the grammar.

    python tools/sample_stories.py --model data/stories --corpus corpus --out measured.json

All arithmetic is float32; the weights are the float16 ones of the exported files.
"""

import argparse
import json
import math
from pathlib import Path

import sentencepiece
import torch
from export_stories import SPLIT_BY_COLUMNS, SPLIT_BY_ROWS
from make_corpus import corpus, read_stories
from story_model import MAX_SEQ_LEN, StoryModel, sum_loss
from train_stories import make_batches, read_sequences


def load_exported(folder, vocab_size):
    """The model of a folder in Meta's layout, its shards joined, as float32."""
    paths = sorted(folder.glob("consolidated.*.pth"))
    parts = [torch.load(path, weights_only=True) for path in paths]
    joined = {}
    for name, first in parts[0].items():
        kind = name.split(".")[-2]
        if kind in SPLIT_BY_ROWS + SPLIT_BY_COLUMNS:
            slices = [part[name] for part in parts]
            joined[name] = torch.cat(slices, dim=int(kind in SPLIT_BY_COLUMNS))
        elif not name.endswith("freqs"):
            joined[name] = first
    model = StoryModel(json.loads((folder / "params.json").read_text("utf-8")), vocab_size)
    model.load_state_dict({name: tensor.float() for name, tensor in joined.items()})
    return model.eval()


@torch.no_grad()
def tell(model, tokenizer, seed, temperature, prompt=""):
    """A story sampled until </s> or until the context is full.

    Returns:
        (text, ended): ended is False where the context was full before </s> came.
    """
    rng = torch.Generator().manual_seed(seed)
    tokens = [tokenizer.bos_id(), *tokenizer.encode(prompt)]
    while len(tokens) < MAX_SEQ_LEN:
        logits = model(torch.tensor([tokens]))[0, -1] / temperature
        token = int(torch.multinomial(logits.softmax(0), 1, generator=rng))
        if token == tokenizer.eos_id():
            return tokenizer.decode(tokens), True
        tokens.append(token)
    return tokenizer.decode(tokens), False


@torch.no_grad()
def story_losses(model, sequences):
    """Summed loss in nats and number of predicted tokens of each sequence, in no special order."""
    sums = []
    for batch in make_batches(sequences, 4096):
        for row in batch:
            loss, n_tokens = sum_loss(model, row[row >= 0][None])
            sums.append((loss.item(), n_tokens))
    return sums


def nats_per_token(sums):
    return sum(nats for nats, _ in sums) / sum(n_tokens for _, n_tokens in sums)


def ratio_error(sums):
    """Standard error of nats_per_token: stories are drawn one by one, tokens are not."""
    mean = nats_per_token(sums)
    squares = sum((nats - mean * n_tokens) ** 2 for nats, n_tokens in sums)
    return math.sqrt(squares) / sum(n_tokens for _, n_tokens in sums)


def main():
    parser = argparse.ArgumentParser(description="Measure the exported model.")
    parser.add_argument("--model", type=Path, required=True, help="folder in Meta's layout")
    parser.add_argument("--corpus", type=Path, required=True, help="folder from make_corpus.py")
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--n-samples", type=int, default=10, help="seeds 1 to this")
    parser.add_argument("--n-losses", type=int, default=1000, help="stories per loss, at most")
    parser.add_argument("--prompt", action="append", default=[], help="also continue this")
    parser.add_argument("--out", type=Path, help="a JSON file for write_model_card.py")
    args = parser.parse_args()

    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(args.model / "tokenizer.model"))
    model = load_exported(args.model, tokenizer.get_piece_size())
    measured = {"temperature": args.temperature, "torch": torch.__version__}
    for name in ("train", "held_out"):
        sequences = read_sequences(args.corpus / f"{name}.txt", tokenizer)
        measured[f"n_{name}"] = len(sequences)
        measured[f"longest_{name}"] = max(map(len, sequences))
        sums = story_losses(model, sequences[: args.n_losses])
        measured[f"{name}_loss"] = nats_per_token(sums)
        measured[f"{name}_loss_error"] = ratio_error(sums)
        measured[f"n_{name}_measured"] = len(sums)

    train_texts = set(read_stories(args.corpus / "train.txt"))
    held_out = read_stories(args.corpus / "held_out.txt")
    measured["n_in_both"] = len(train_texts.intersection(held_out))
    # The grammar again, for what the text files do not contain: how surprising each story was.
    _, (texts, nats, _) = corpus(0, args.n_losses)
    if texts != held_out[: args.n_losses]:
        raise SystemExit(
            f"{args.corpus}: held-out stories are not the grammar's; run make_corpus.py again"
        )
    n_tokens = [len(ids) + 1 for ids in tokenizer.encode(texts)]
    sums = list(zip(nats, n_tokens, strict=True))
    measured["grammar_entropy"] = nats_per_token(sums)
    measured["grammar_entropy_error"] = ratio_error(sums)
    measured["grammar_nats_a_story"] = sum(nats) / len(nats)
    measured["n_tokens_a_story"] = sum(n_tokens) / len(n_tokens)
    print(json.dumps(measured, indent=1))

    samples = []
    for seed in range(1, args.n_samples + 1):
        text, ended = tell(model, tokenizer, seed, args.temperature)
        in_train = text in train_texts
        samples.append({"seed": seed, "text": text, "ended": ended, "in_train": in_train})
        print(f"--- seed {seed}\n{text}\n", flush=True)
    measured["samples"] = samples
    for prompt in args.prompt:
        print(f"--- {prompt!r}\n{tell(model, tokenizer, 1, args.temperature, prompt)[0]}\n")
    print(
        f"ended: {sum(s['ended'] for s in samples)} of {len(samples)}, word for word in the "
        f"training stories: {sum(s['in_train'] for s in samples)}"
    )
    if args.out:
        args.out.write_text(json.dumps(measured, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
