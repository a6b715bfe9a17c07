"""Train the bundled model on stories from the grammar, with a fixed number of steps.

    python tools/train_stories.py --corpus corpus --tokenizer data/stories/tokenizer.model --out run

The same arguments, library versions and kind of processor give the same weights; another number of
threads or another processor rounds differently.
"""

import argparse
import itertools
import json
import math
import platform
import random
import time
from pathlib import Path

import sentencepiece
import torch
from make_corpus import read_stories
from story_model import MAX_SEQ_LEN, PARAMS, StoryModel, sum_loss

POOL = 256


def read_sequences(path, tokenizer):
    """Every story of a corpus file as <s> + story + </s>, a list of lists of ids."""
    ids_of_stories = tokenizer.encode(read_stories(path))
    return [[tokenizer.bos_id(), *ids, tokenizer.eos_id()] for ids in ids_of_stories]


def make_batches(sequences, tokens_per_batch):
    """Batches of sequences of near-equal length, together covering every sequence once.

    Returns:
        list of (batch, positions) int64 tensors, padded on the right with -1, shortest first.
    """
    batches, batch = [], []
    for sequence in sorted(sequences, key=len):
        if batch and (len(batch) + 1) * len(sequence) > tokens_per_batch:
            batches.append(pad(batch))
            batch = []
        batch.append(sequence)
    return [*batches, pad(batch)]


def pad(sequences):
    tokens = torch.full((len(sequences), max(map(len, sequences))), -1)
    for row, sequence in enumerate(sequences):
        tokens[row, : len(sequence)] = torch.tensor(sequence)
    return tokens


def endless_batches(sequences, tokens_per_batch, seed):
    """Yield batches without end, shuffled again in every epoch.

    Only POOL stories are sorted by length at a time: over the whole corpus, stories of one exact
    length would be of one plot, and every batch would pull the weights its own way.
    """
    for epoch in itertools.count():
        rng = random.Random(f"{seed} {epoch}")
        order = rng.sample(sequences, len(sequences))
        for start in range(0, len(order), POOL):
            batches = make_batches(order[start : start + POOL], tokens_per_batch)
            yield from rng.sample(batches, len(batches))


def learning_rate(step, n_steps, n_warmup, peak):
    """Linear warm-up, then half a cosine from peak down to a twentieth of it."""
    if step < n_warmup:
        return peak * (step + 1) / n_warmup
    progress = (step - n_warmup) / max(1, n_steps - n_warmup)
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def autocast():
    return torch.autocast("cpu", dtype=torch.bfloat16)


@torch.no_grad()
def held_out_loss(model, batches):
    """Mean loss in nats per token over all batches."""
    sums = [sum_loss(model, batch) for batch in batches]
    return sum(loss.item() for loss, _ in sums) / sum(n for _, n in sums)


def save(path, state):
    """Write a checkpoint completely or not at all."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def make_optimizer(model, weight_decay):
    """AdamW; vectors, which are all norms, do not decay. take_step() sets the learning rate."""
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)


def take_step(model, optimizer, loss, rate):
    """One step down the gradient of a loss, clipped to norm 1, at learning rate `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def versions():
    """What the weights depend on besides the arguments, for the checkpoint."""
    return {
        "torch": str(torch.__version__),
        "sentencepiece": sentencepiece.__version__,
        "python": platform.python_version(),
    }


def numbers_of(args):
    """The arguments without the paths, which say nothing about the weights."""
    return {k: v for k, v in vars(args).items() if not isinstance(v, Path)}


def main():
    parser = argparse.ArgumentParser(description="Train the bundled model.")
    parser.add_argument("--corpus", type=Path, required=True, help="folder from make_corpus.py")
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and log")
    parser.add_argument("--n-steps", type=int, default=4800)
    parser.add_argument("--stop-at-step", type=int, help="stop early; resume later")
    parser.add_argument("--tokens-per-batch", type=int, default=2048)
    parser.add_argument("--n-warmup", type=int, default=200)
    parser.add_argument("--peak-lr", type=float, default=1.5e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n-threads", type=int, default=2)
    parser.add_argument("--log-every", type=int, default=50, help="steps")
    parser.add_argument("--save-every", type=int, default=200, help="steps; also the held-out loss")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(args.n_threads)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(args.tokenizer))
    train = read_sequences(args.corpus / "train.txt", tokenizer)
    held_out = read_sequences(args.corpus / "held_out.txt", tokenizer)
    longest = max(map(len, train + held_out))
    if longest > MAX_SEQ_LEN:
        raise SystemExit(
            f"{args.corpus}: longest story has {longest} tokens, expected at most {MAX_SEQ_LEN}"
        )
    held_out_batches = make_batches(held_out[:128], 4096)

    model = StoryModel(PARAMS, tokenizer.get_piece_size())
    optimizer = make_optimizer(model, args.weight_decay)
    done = {"step": 0, "n_tokens": 0, "elapsed_s": 0.0}
    plans = []  # (first step, n_steps): one entry for each run that changed the schedule
    checkpoint = args.out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done, plans = state["done"], state["plans"]
    if not plans or plans[-1][1] != args.n_steps:
        plans.append((done["step"], args.n_steps))
    batches = endless_batches(train, args.tokens_per_batch, args.seed)
    for _ in range(done["step"]):
        next(batches)

    log = (args.out / "log.jsonl").open("a", encoding="utf-8")
    started, before_s = time.monotonic(), done["elapsed_s"]
    sum_nats = sum_tokens = 0
    stop_at = min(args.n_steps, args.stop_at_step or args.n_steps)
    while done["step"] < stop_at:
        rate = learning_rate(done["step"], args.n_steps, args.n_warmup, args.peak_lr)
        with autocast():
            loss, n_tokens = sum_loss(model, next(batches))
        take_step(model, optimizer, loss / n_tokens, rate)
        sum_nats, sum_tokens = sum_nats + loss.item(), sum_tokens + n_tokens
        done["step"] += 1
        done["n_tokens"] += n_tokens
        done["elapsed_s"] = before_s + time.monotonic() - started
        at_save = done["step"] % args.save_every == 0 or done["step"] == stop_at
        if at_save or done["step"] % args.log_every == 0:
            record = {**done, "train_loss": round(sum_nats / sum_tokens, 4), "lr": round(rate, 6)}
            sum_nats = sum_tokens = 0
            if at_save:
                with autocast():
                    record["held_out_loss"] = round(held_out_loss(model, held_out_batches), 4)
                state = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "done": done,
                    "plans": plans,
                    "arguments": numbers_of(args),
                    "versions": versions(),
                }
                save(checkpoint, state)
            print(json.dumps(record), file=log, flush=True)


if __name__ == "__main__":
    main()
