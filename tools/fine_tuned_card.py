"""The cards of stories-moe and stories-relu, from a checkpoint, its log and measurements.

What both say stands here; model_card_moe.md and model_card_relu.md have what is their own.
"""

from pathlib import Path

from export_huggingface import is_moe
from story_feed_forwards import EXPERT_DIM, N_EXPERTS, N_EXPERTS_PER_TOKEN
from story_model import MAX_SEQ_LEN, PARAMS, ROPE_THETA, hidden_dim
from write_model_card import shown, table_of_files, wrap_prose

TRAINING = (
    "Fine-tuned on {n_tokens:,} tokens of the training stories, {n_steps} steps in {cpu_s:.0f} CPU "
    "seconds on {hardware}. PyTorch {torch}, Python {python}, threads: {n_threads}, bfloat16 "
    "autocast, AdamW, learning rate {peak_lr:g} after {n_warmup} steps of warm-up and then half a "
    "cosine down, weight decay {weight_decay:g}, gradients clipped to norm 1, seed {seed}. The "
    "loss is {story_share:g} times that on the stories plus {teacher_weight:g} times the "
    "divergence from what *stories* predicts."
)
COLUMNS = (
    "(Nats per token while training, in bfloat16, held-out loss on {n_held_out} stories. From "
    "stories: the divergence from what *stories* predicts. The CPU seconds include the "
    "held-out losses."
)
LOSSES = """\
Nats per token on {n_measured:,} held-out stories, `</s>` counted and `<s>` not, from the weights
rounded as they are stored, with float32 arithmetic:

| | nats per token | standard error |
|---|---:|---:|
| this model | {held_out_loss:.4f} | {held_out_loss_error:.4f} |
| *stories* (float16) on the same text | {dense_loss:.4f} | {dense_loss_error:.4f} |
| difference, story by story | {difference:+.4f} | {difference_error:.4f} |"""
SAMPLES = (
    "Temperature {temperature:g}, seeds 1 to {n_samples}, from `<s>` alone, written by this "
    "program from the file (`llama-edu generate --arithmetic float32 --seed`). {n_ended} of "
    "{n_samples} ended with `</s>` within the context, and {n_in_train} occur word for word in the "
    "training stories."
)
COMMANDS = """\
pip install torch=={torch_plain} sentencepiece=={sentencepiece} safetensors numpy
python tools/make_corpus.py --out corpus
python tools/{program} --model data/stories --corpus corpus --out run{options}
python tools/bundle_fine_tuned.py --run run --model data/stories --corpus corpus \\
    --out data/{name} --hardware "..."
"""
REPEATABLE = (
    "The corpus and the conversion give the same bytes every time. Training has fixed seeds, so it "
    "gives the same weights on one kind of processor with the same library versions and number of "
    "threads; elsewhere rounding differs, and so do the weights."
)
SIZES = """\
| `dim` | {dim} |
| `n_layers` | {n_layers} |
| `n_heads` (query heads, and as many key/value heads) | {n_heads} |
| `vocab_size` (sentencepiece BPE with byte pieces) | {vocab_size} |
| context in training | {max_seq_len} tokens |
| RoPE | interleaved pairs, theta {rope_theta:g} |
| `norm_eps` | {norm_eps:g} |"""


def curve(records, columns):
    """The log as lines of a table; before the first step there is a held-out loss only."""

    def cell(record, name):
        if name not in record:
            return ""
        return f"{record[name]:,}" if isinstance(record[name], int) else f"{record[name]:.3f}"

    names = ("step", "n_tokens", *columns, "held_out_loss")
    return "\n".join(
        "| " + " | ".join(cell(record, name) for name in names) + f" | {record['cpu_s']:.0f} |"
        for record in records
    )


def facts_of_moe(weights, measured):
    """What only the card of a mixture of experts says."""
    n_in_experts = sum(tensor.numel() for tensor in weights.values() if tensor.dim() == 3)
    n_weights = sum(tensor.numel() for tensor in weights.values())
    rows = [
        f"| {layer} | " + " | ".join(f"{100 * share:.1f}" for share in use) + f" | {shared:.1%} |"
        for layer, (use, shared) in enumerate(
            zip(measured["expert_use"], measured["shared"], strict=True)
        )
    ]
    return {
        "n_experts": N_EXPERTS,
        "n_experts_per_token": N_EXPERTS_PER_TOKEN,
        "expert_dim": EXPERT_DIM,
        "n_active": n_weights - n_in_experts * (N_EXPERTS - N_EXPERTS_PER_TOKEN) // N_EXPERTS,
        "alike": 1 / N_EXPERTS,
        "chance": N_EXPERTS_PER_TOKEN / N_EXPERTS,
        "expert_columns": " | ".join(str(expert) for expert in range(N_EXPERTS)),
        "expert_rules": "---:|" * N_EXPERTS,
        "per_layer": "\n".join(rows),
    }


def facts_of_relu(measured):
    """What only the card of the ReLU model says."""
    zeros, never = measured["zeros"], measured["never"]
    return {
        "per_layer": "\n".join(
            f"| {layer} | {share:.1%} | {n_never} |"
            for layer, (share, n_never) in enumerate(zip(zeros, never, strict=True))
        ),
        "mean": sum(zeros) / len(zeros),
        "n_never": sum(never),
        "n_neurons": len(zeros) * hidden_dim(PARAMS["dim"], PARAMS["multiple_of"]),
    }


def options_of(arguments, defaults):
    """The options that repeat a run, where it did not take the program's defaults."""
    return "".join(
        f" --{name.replace('_', '-')} {value}"
        for name, value in arguments.items()
        if value != defaults[name]
    )


def card(state, records, measured, paths, name, hardware, defaults):
    """The card's text.

    Args:
        state: a checkpoint of fine_tune(). records: its log, a list of dicts.
        measured: from measure(). paths: the files to list.
        defaults: the training program's default arguments by name.
    """
    weights, arguments, found = state["model"], state["arguments"], state["versions"]
    moe, samples = is_moe(weights), measured["samples"]
    facts = arguments | measured | found | {"name": name, "hardware": hardware}
    facts |= {"n_tokens": records[-1]["n_tokens"], "cpu_s": records[-1]["cpu_s"]}
    facts |= {
        "story_share": 1 - arguments["teacher_weight"],
        "n_samples": len(samples),
        "n_ended": sum(sample["ended"] for sample in samples),
        "n_in_train": sum(sample["in_train"] for sample in samples),
        "torch_plain": found["torch"].split("+")[0],
        "program": "train_moe.py" if moe else "train_relu.py",
        "options": options_of(arguments, defaults),
        "vocab_size": weights["output.weight"].shape[0],
        "max_seq_len": MAX_SEQ_LEN,
        "rope_theta": ROPE_THETA,
    }
    n_bytes = sum(path.stat().st_size for path in paths)
    own = facts_of_moe(weights, measured) if moe else facts_of_relu(measured)
    columns = ("train_loss", "divergence", "balance" if moe else "zeros")
    template = Path(__file__).with_name("model_card_moe.md" if moe else "model_card_relu.md")
    text = template.read_text(encoding="utf-8").format(
        **facts | own | {"samples": shown(samples)},
        n_parameters=sum(tensor.numel() for tensor in weights.values()),
        n_bytes=n_bytes,
        mebibytes=n_bytes / 2**20,
        sizes=SIZES.format(**facts | PARAMS | {"vocab_size": facts["vocab_size"]}),
        hidden_dim=hidden_dim(PARAMS["dim"], PARAMS["multiple_of"]),
        files=table_of_files(paths),
        training=TRAINING.format(**facts),
        columns=COLUMNS.format(**facts),
        curve=curve(records, columns),
        losses=LOSSES.format(**facts),
        about_samples=SAMPLES.format(**facts),
        commands=COMMANDS.format(**facts).rstrip(),
        repeatable=REPEATABLE,
    )
    return wrap_prose(text.rstrip()) + "\n"
