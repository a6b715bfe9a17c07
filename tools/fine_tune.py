"""The loop that train_relu.py and train_moe.py share: from the bundled model to a changed one.

The changed model learns from the stories and from the bundled model at once: which next tokens that
one thinks possible says more than the single one that came. With ReLU, after 40 steps, the held-out
loss was .135 with both and .142 from the stories alone.
"""

import argparse
import json
import time
from pathlib import Path

import sentencepiece
import torch
import torch.nn.functional as F
from sample_stories import load_exported
from train_stories import (
    autocast,
    endless_batches,
    held_out_loss,
    learning_rate,
    make_batches,
    make_optimizer,
    numbers_of,
    read_sequences,
    save,
    take_step,
    versions,
)


def arguments(description, **defaults):
    """A parser with what both programs need; defaults by name, for what they choose differently."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", type=Path, required=True, help="data/stories")
    parser.add_argument("--corpus", type=Path, required=True, help="folder from make_corpus.py")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoint and log")
    parser.add_argument("--n-steps", type=int)
    parser.add_argument("--tokens-per-batch", type=int, default=2048)
    parser.add_argument("--n-warmup", type=int, default=10)
    parser.add_argument("--peak-lr", type=float)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--teacher-weight", type=float, default=0.5, help="0: the stories alone")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--n-threads", type=int, default=1)
    parser.add_argument("--log-every", type=int, default=40, help="steps; also the held-out loss")
    parser.add_argument("--n-held-out", type=int, default=64, help="stories for that loss")
    parser.set_defaults(**defaults)
    return parser


def start(args):
    """The bundled model and the stories: (dense model, training sequences, held-out batches)."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.n_threads)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(args.model / "tokenizer.model"))
    dense = load_exported(args.model, tokenizer.get_piece_size())
    train = read_sequences(args.corpus / "train.txt", tokenizer)
    held_out = read_sequences(args.corpus / "held_out.txt", tokenizer)
    return dense, train, make_batches(held_out[: args.n_held_out], 4096)


def two_losses(model, teacher, tokens):
    """Mean loss per token on the stories and mean divergence from the teacher, in nats.

    Args:
        tokens: (batch, positions) int64, padded with -1; padding counts for neither.
    """
    targets = tokens[:, 1:].flatten()
    real = targets >= 0
    inputs = tokens[:, :-1].clamp(min=0)
    ours = model(inputs).float().flatten(0, 1)[real].log_softmax(dim=-1)
    with torch.no_grad():
        theirs = teacher(inputs).float().flatten(0, 1)[real].log_softmax(dim=-1)
    loss = F.nll_loss(ours, targets[real])
    return loss, F.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def fine_tune(model, teacher, train, held_out, args, penalty):
    """Train a model for args.n_steps; writes args.out/checkpoint.pt and log.jsonl.

    Args:
        model: a StoryModel, changed in place.
        teacher: the bundled StoryModel, left as it is.
        train, held_out: as start() returns them.
        penalty: function (model, real) called after each forward pass, real (n,) bool where a
            position counts; returns a number to add to the loss and a dict of numbers to log.
    """
    args.out.mkdir(parents=True, exist_ok=True)
    optimizer = make_optimizer(model, args.weight_decay)
    batches = endless_batches(train, args.tokens_per_batch, args.seed)
    wall_s, cpu_s = time.monotonic(), time.process_time()
    n_tokens, sums = 0, {}
    with (args.out / "log.jsonl").open("w", encoding="utf-8") as log:
        for step in range(args.n_steps + 1):
            if step % args.log_every == 0 or step == args.n_steps:
                n_steps = args.log_every if step % args.log_every == 0 else step % args.log_every
                record = {"step": step, "n_tokens": n_tokens}
                record |= {name: round(total / n_steps, 4) for name, total in sums.items()}
                sums = {}
                with autocast():
                    record["held_out_loss"] = round(held_out_loss(model, held_out), 4)
                record["elapsed_s"] = round(time.monotonic() - wall_s, 1)
                record["cpu_s"] = round(time.process_time() - cpu_s, 1)
                print(json.dumps(record), file=log, flush=True)
                print(json.dumps(record), flush=True)
            if step == args.n_steps:
                break
            tokens = next(batches)
            real = tokens[:, 1:].flatten() >= 0
            with autocast():
                loss, divergence = two_losses(model, teacher, tokens)
                added, numbers = penalty(model, real)
            share = args.teacher_weight
            objective = (1 - share) * loss + share * divergence + added
            rate = learning_rate(step, args.n_steps, args.n_warmup, args.peak_lr)
            take_step(model, optimizer, objective, rate)
            n_tokens += int(real.sum())
            numbers |= {"train_loss": loss.item(), "divergence": divergence.item()}
            sums = {name: sums.get(name, 0.0) + number for name, number in numbers.items()}
    state = {"model": model.state_dict(), "arguments": numbers_of(args), "versions": versions()}
    save(args.out / "checkpoint.pt", state)
