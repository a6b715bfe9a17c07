r"""Write data/stories/README.md from model_card_template.md and the measurements.

    python tools/write_model_card.py --model data/stories --measured measured.json \
        --checkpoint run/checkpoint.pt --log run/log.jsonl --hardware "2 cores of ..."

No number in the card is entered manually.
"""

import argparse
import hashlib
import json
import textwrap
from pathlib import Path

import torch
from export_stories import tensor_names
from story_grammar import PLOTS
from story_model import MAX_SEQ_LEN, ROPE_THETA, hidden_dim

N_SHOWN = 10


def curve(log_path, n_rows):
    """About n_rows lines of the table of losses, evenly spaced, including the last step."""
    records = [json.loads(line) for line in log_path.read_text(encoding="utf-8").splitlines()]
    records = [record for record in records if "held_out_loss" in record]
    stride = -(-len(records) // n_rows)
    return "\n".join(
        f"| {r['step']:,} | {r['n_tokens']:,} | {r['train_loss']:.3f} | {r['held_out_loss']:.3f} |"
        for r in records[::-1][::stride][::-1]
    )


def wrap_prose(text):
    """The text with every paragraph rewrapped; tables, headings and code stay as they are."""
    blocks = text.split("\n\n")
    return "\n\n".join(
        block if block.startswith(("|", "#", "```")) else textwrap.fill(block, 100)
        for block in blocks
    )


def table_of_files(paths):
    """A line with name, size and sha256 of each file."""
    return "\n".join(
        f"| `{path.name}` | {path.stat().st_size:,} | "
        f"`{hashlib.sha256(path.read_bytes()).hexdigest()}` |"
        for path in paths
    )


def shown(samples):
    """Samples as paragraphs, each with its seed."""
    return "\n\n".join(
        f"**Seed {sample['seed']}.** " + sample["text"].replace("\n", "\n\n") for sample in samples
    )


def training_commands(plans):
    """The shell lines that repeat a training run; plans as in train_stories.py."""
    command = "python tools/train_stories.py --corpus corpus --tokenizer tokenizer.model --out run"
    stops = [f" --stop-at-step {first_step}" for first_step, _ in plans[1:]] + [""]
    return "\n".join(
        f"{command} --n-steps {n_steps}{stop}"
        for (_, n_steps), stop in zip(plans, stops, strict=True)
    )


def main():
    parser = argparse.ArgumentParser(description="Write the model card.")
    parser.add_argument("--model", type=Path, required=True, help="folder in Meta's layout")
    parser.add_argument("--measured", type=Path, required=True, help="from sample_stories.py")
    parser.add_argument("--checkpoint", type=Path, required=True, help="from train_stories.py")
    parser.add_argument("--log", type=Path, required=True, help="log.jsonl from train_stories.py")
    parser.add_argument("--hardware", required=True, help="in general terms")
    args = parser.parse_args()
    measured = json.loads(args.measured.read_text(encoding="utf-8"))
    state = torch.load(args.checkpoint, weights_only=True)
    params = json.loads((args.model / "params.json").read_text(encoding="utf-8"))
    names = set(tensor_names(params["n_layers"]))
    weights = [tensor for name, tensor in state["model"].items() if name in names]
    paths = sorted(path for path in args.model.iterdir() if path.name != "README.md")
    done, samples = state["done"], measured.pop("samples")
    template = Path(__file__).with_name("model_card_template.md").read_text(encoding="utf-8")
    card = template.format(
        **params | {"vocab_size": state["model"]["output.weight"].shape[0]},
        **state["arguments"],
        **measured,
        n_parameters=sum(tensor.numel() for tensor in weights),
        n_bytes=sum(path.stat().st_size for path in paths),
        hidden_dim=hidden_dim(params["dim"], params["multiple_of"]),
        max_seq_len=MAX_SEQ_LEN,
        rope_theta=ROPE_THETA,
        n_parts=len(list(args.model.glob("consolidated.*.pth"))),
        files=table_of_files(paths),
        n_steps_done=done["step"],
        n_tokens=done["n_tokens"],
        minutes=done["elapsed_s"] / 60,
        tokens_per_s=done["n_tokens"] / done["elapsed_s"],
        hardware=args.hardware,
        torch_version=state["versions"]["torch"],
        torch_plain=state["versions"]["torch"].split("+")[0],
        sentencepiece_version=state["versions"]["sentencepiece"],
        python_version=state["versions"]["python"],
        epochs=done["n_tokens"] / (measured["n_train"] * measured["n_tokens_a_story"]),
        curve=curve(args.log, 12),
        training_commands=training_commands(state["plans"]),
        plan=" and then ".join(f"{n_steps:,}" for _, n_steps in state["plans"]),
        gap=measured["held_out_loss"] / measured["grammar_entropy"] - 1,
        n_shown=N_SHOWN,
        n_samples=len(samples),
        n_ended=sum(sample["ended"] for sample in samples),
        n_in_train=sum(sample["in_train"] for sample in samples),
        n_plots=len(PLOTS),
        samples=shown(samples[:N_SHOWN]),
    )
    (args.model / "README.md").write_text(wrap_prose(card.rstrip()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
