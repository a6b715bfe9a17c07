"""The tools that train stories-moe and stories-relu: rules, penalties, seeds, files, cards."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest

from llama_edu.bundled import bundled_checkpoint

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("safetensors")

import fine_tuned_card  # noqa: E402  the tools need torch
import train_moe  # noqa: E402
import train_relu  # noqa: E402
from cut_experts import cut_experts, feed_forward_inputs  # noqa: E402
from export_huggingface import write_folder  # noqa: E402
from fine_tune import fine_tune, two_losses  # noqa: E402
from make_corpus import stories  # noqa: E402
from measure_fine_tuned import (  # noqa: E402
    CountedExperts,
    CountedZeros,
    as_stored,
    measure,
)
from sample_stories import load_exported  # noqa: E402
from sentencepiece import SentencePieceProcessor  # noqa: E402
from story_feed_forwards import (  # noqa: E402
    EXPERT_DIM,
    N_EXPERTS,
    N_EXPERTS_PER_TOKEN,
    MixtureOfExperts,
    load_balance,
)
from story_model import PARAMS  # noqa: E402
from train_stories import make_batches, pad  # noqa: E402
from write_model_card import table_of_files  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # what torch and transformers say about their own future is not about this project
    pytest.mark.filterwarnings("ignore:::(torch|transformers)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def tokenizer():
    path = bundled_checkpoint() / "tokenizer.model"
    return SentencePieceProcessor(model_file=str(path))


@pytest.fixture(scope="module")
def dense(tokenizer):
    return load_exported(bundled_checkpoint(), tokenizer.get_piece_size())


@pytest.fixture(scope="module")
def sequences(tokenizer):
    texts, _, _ = stories(7, 12, set())
    return [[tokenizer.bos_id(), *ids, tokenizer.eos_id()] for ids in tokenizer.encode(texts)]


def random_moe(dim, seed=3):
    block = MixtureOfExperts(dim, 0)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in block.parameters():
            weight.normal_(std=0.2, generator=generator)
    return block


def changed(dense, make):
    """A model of random experts or of ReLU, with the other weights of the bundled model."""
    if make is MixtureOfExperts:
        model = deepcopy(dense)
        for number, layer in enumerate(model.layers):
            layer.feed_forward = random_moe(PARAMS["dim"], number)
        return model
    return train_relu.with_relu(dense)


def test_experts_are_chosen_and_mixed_as_in_transformers():
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    dim = 24
    ours = random_moe(dim)
    config = transformers.MixtralConfig(
        hidden_size=dim, intermediate_size=EXPERT_DIM, num_local_experts=N_EXPERTS,
        num_experts_per_tok=N_EXPERTS_PER_TOKEN,
    )  # fmt: skip
    config._experts_implementation = "eager"
    theirs = MixtralSparseMoeBlock(config)
    with torch.no_grad():
        theirs.gate.weight.copy_(ours.router)
        theirs.experts.gate_up_proj.copy_(torch.cat([ours.w1, ours.w3], dim=1))
        theirs.experts.down_proj.copy_(ours.w2)
        x = torch.randn(3, 17, dim, generator=torch.Generator().manual_seed(5))
        expected = theirs(x)
        torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-4)
        chosen = ours.routing[1]
    assert len(chosen.unique()) > 4, "too few experts for a test of the order"


def test_balance_is_1_where_all_experts_are_alike_and_grows_where_two_do_all():
    chosen = torch.arange(N_EXPERTS).view(-1, 2)
    alike = torch.full((4, N_EXPERTS), 1 / N_EXPERTS)
    assert float(load_balance((None, chosen, alike))) == pytest.approx(1)
    two = torch.zeros(4, N_EXPERTS)
    two[:, 0] = 1.0
    assert float(load_balance((None, torch.tensor([[0, 1]] * 4), two))) == pytest.approx(4)


def test_padding_counts_for_neither_loss(dense, sequences):
    short, long = sorted(sequences, key=len)[0], sorted(sequences, key=len)[-1]
    relu = train_relu.with_relu(dense)
    with torch.no_grad():
        together = two_losses(relu, dense, pad([short, long]))
        apart = [two_losses(relu, dense, pad([sequence])) for sequence in (short, long)]
    weights = [len(short) - 1, len(long) - 1]
    for position in range(2):
        mean = sum(w * float(pair[position]) for w, pair in zip(weights, apart, strict=True))
        assert float(together[position]) == pytest.approx(mean / sum(weights), rel=1e-4)
    assert together[1] > 0


def test_the_divergence_of_a_model_from_itself_is_0(dense, sequences):
    with torch.no_grad():
        loss, divergence = two_losses(dense, dense, pad(sequences[:1]))
    assert float(divergence) == pytest.approx(0, abs=1e-6)
    assert 0.05 < loss < 0.4


def test_experts_cut_from_a_layer_are_near_it(dense, sequences):
    x = feed_forward_inputs(dense, sequences)[2]
    feed_forward = dense.layers[2].feed_forward
    moe = cut_experts(feed_forward, x, torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted, found = feed_forward(x), moe(x[None])[0]
        use = moe.routing[1].flatten().bincount(minlength=N_EXPERTS) / (2 * len(x))
    error = float(((found - wanted) ** 2).sum() / (wanted**2).sum())
    assert error < 0.2  # random halves of the neurons: about 0.44
    assert use.max() < 0.35


def first_losses(program, model, dense, sequences, penalty, out, seed):
    args = program.parser().parse_args(
        ["--model", "-", "--corpus", "-", "--out", str(out), "--n-steps", "20", "--log-every", "5",
         "--tokens-per-batch", "300", "--seed", str(seed), "--n-warmup", "2"]
    )  # fmt: skip
    fine_tune(model, dense, sequences, make_batches(sequences[:2], 600), args, penalty)
    lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    timeless = [
        {k: v for k, v in json.loads(line).items() if k not in ("elapsed_s", "cpu_s")}
        for line in lines
    ]
    return timeless, torch.load(out / "checkpoint.pt", weights_only=True)["model"]


@pytest.mark.parametrize("kind", ["moe", "relu"])
def test_a_seed_gives_the_same_first_20_steps(kind, dense, sequences, tmp_path):
    def run(name, seed):
        if kind == "moe":
            model = train_moe.with_experts(dense, sequences[:4], seed)
            program, penalty = train_moe, train_moe.balance_penalty(0.02)
        else:
            model = train_relu.with_relu(dense)
            program, penalty = train_relu, train_relu.l1_penalty(0.1)
        before = deepcopy(dense.state_dict())
        result = first_losses(program, model, dense, sequences, penalty, tmp_path / name, seed)
        assert all(torch.equal(before[k], v) for k, v in dense.state_dict().items())
        return result

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        (log, weights), (again, same), (other, _) = run("a", 1), run("b", 1), run("c", 2)
    finally:
        torch.set_num_threads(threads)
    assert log == again
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert log != other
    assert [record["step"] for record in log] == [0, 5, 10, 15, 20]


@pytest.mark.parametrize("make", [MixtureOfExperts, "relu"])
def test_transformers_computes_the_exported_folder_alike(make, dense, sequences, tmp_path):
    model = changed(dense, make)
    write_folder(model.state_dict(), bundled_checkpoint() / "tokenizer.model", tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    expected = "MixtralForCausalLM" if make is MixtureOfExperts else "LlamaForCausalLM"
    assert type(theirs).__name__ == expected
    tokens = torch.tensor([sequences[0]])
    with torch.no_grad():
        torch.testing.assert_close(model(tokens), theirs(tokens).logits, rtol=1e-3, atol=1e-3)


def test_weights_are_measured_as_the_file_stores_them(dense):
    state = changed(dense, MixtureOfExperts).state_dict()
    stored = as_stored(state)
    for name, tensor in state.items():
        largest = float((stored[name] - tensor).abs().max())
        if name.endswith(("router", "norm.weight")):
            assert largest == 0, name
        else:
            step = 60 if name == "tok_embeddings.weight" else 200  # six bits, eight bits
            assert 0 < largest <= float(tensor.abs().max()) / step, name


def test_zeros_and_experts_are_counted_by_hand():
    zeros = CountedZeros(1)
    for numbers in ([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]], [[3.0, 0.0, 0.0]]):
        feed_forward = SimpleNamespace(activations=torch.tensor([numbers]))
        zeros(SimpleNamespace(layers=[SimpleNamespace(feed_forward=feed_forward)]))
    assert zeros.measured() == {"zeros": [pytest.approx(6 / 9)], "never": [1]}
    experts = CountedExperts(1)
    routing = (None, torch.tensor([[0, 1], [1, 2], [3, 4]]), None)
    feed_forward = SimpleNamespace(routing=routing)
    experts(SimpleNamespace(layers=[SimpleNamespace(feed_forward=feed_forward)]))
    found = experts.measured()
    assert np.allclose(found["expert_use"], [[1 / 6, 2 / 6, 1 / 6, 1 / 6, 1 / 6, 0, 0, 0]])
    assert found["shared"] == [0.25]  # 1 of 4


def test_the_bundled_model_card_lists_the_files_as_they_are():
    folder = bundled_checkpoint()
    paths = sorted(path for path in folder.iterdir() if path.name != "README.md")
    assert table_of_files(paths) in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("make", [MixtureOfExperts, "relu"])
def test_a_card_says_what_was_measured(make, dense, tokenizer, sequences, tmp_path):
    model = changed(dense, make)
    program = train_moe if make is MixtureOfExperts else train_relu
    own = program.parser()
    names = [a.dest for a in own._actions if a.dest not in ("help", "model", "corpus", "out")]
    defaults = {name: own.get_default(name) for name in names}
    state = {
        "model": model.state_dict(),
        "arguments": defaults | {"seed": 23},
        "versions": {"torch": "2.13.0+cpu", "sentencepiece": "0.2.3", "python": "3.11.7"},
    }
    records = [
        {"step": 0, "n_tokens": 0, "held_out_loss": 0.5, "cpu_s": 1.0},
        {"step": 7, "n_tokens": 12345, "held_out_loss": 0.25, "cpu_s": 98.6, "train_loss": 0.375,
         "divergence": 0.125, "balance": 1.5, "zeros": 0.625},
    ]  # fmt: skip
    measured = measure(state["model"], dense, sequences[:2]) | {"temperature": 0.8}
    assert measured["difference"] == pytest.approx(
        measured["held_out_loss"] - measured["dense_loss"]
    )
    assert math.isfinite(measured["difference_error"])
    measured["samples"] = [{"seed": 1, "text": "A hen.\nEnd.", "ended": True, "in_train": False}]
    file = tmp_path / "a.gguf"
    file.write_bytes(b"x" * 1234)
    text = fine_tuned_card.card(state, records, measured, [file], "stories-x", "one core", defaults)
    assert "{" not in text and "}" not in text
    assert "| 7 | 12,345 | 0.375 | 0.125 |" in text
    assert "--out run --seed 23\n" in text  # what is default is not repeated
    assert f"| this model | {measured['held_out_loss']:.4f} |" in text
    assert "`a.gguf` | 1,234 |" in text
    n_weights = sum(weight.numel() for weight in model.parameters())
    assert f"{n_weights:,} weights" in text.replace("\n", " ")
