"""Files judged on a text: what the record holds, what it says, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import numpy as np
import pytest
from helpers.small_models import (
    llama2c_v0,
    random_weights,
    small_config,
    small_vocabulary,
    tokenizer_bin,
)

from llama_edu.convert import convert
from llama_edu.errors import RequestError
from llama_edu.loading import load
from llama_edu.quality import judge
from llama_edu.quality.estimate import Estimate
from llama_edu.quality.judgement import Difference, FileQuality
from llama_edu.quality.losses import paired_loss, token_nats
from llama_edu.quality.scores import score_window
from llama_edu.quality.windows import windows_of
from llama_edu.workers import opened as opened_module
from llama_edu.workers.opened import FileReplacedError
from llama_edu.workers.pieces import EngineError


@pytest.fixture
def text(folder):
    return (folder / "text.txt").read_text()


@pytest.fixture
def judged(folder, text):
    """A function that judges b beside a, in windows of 9 positions."""

    def judged(*names, **options):
        files = [folder / name for name in names or ("a.gguf", "b.gguf")]
        return judge(*files, text=text, **({"context": 9, "kernels": "numpy"} | options))

    return judged


def test_losses_are_those_of_the_models(folder, text, judged):
    found = judged()
    nats = []
    for name in ("a.gguf", "b.gguf"):
        with load(folder / name, kernels="numpy", arithmetic="float32", threads=1) as llama:
            windows = windows_of(llama.tokenizer.encode(text, bos=False), 1, 9)
            nats.append(token_nats(llama.model, [window.ids for window in windows]))
    a, b = found.files
    assert (found.n_tokens, found.n_windows) == (len(nats[0]), len(windows))
    assert a.nats.mean == pytest.approx(nats[0].mean(), abs=1e-12) and a.difference is None
    assert b.nats.mean == pytest.approx(nats[1].mean(), abs=1e-12)
    assert b.difference.loss.mean == pytest.approx(paired_loss(*nats).nats, abs=1e-12)
    assert a.perplexity == pytest.approx(np.exp(nats[0].mean()))
    kl = b.difference
    assert 0 < kl.kl_median <= kl.kl_90 <= kl.kl_99 <= kl.kl_largest and kl.kl.mean > 0
    assert 0 < kl.same_first.mean < 1 and kl.same_first.error > 0
    assert b.difference.loss.error < b.nats.error, "pairs know more"
    assert found.arithmetic == "float32" and not found.cut_short
    assert not opened_module._open, "nothing is left open"


def test_an_arithmetic_that_is_not_the_same_for_all_is_said_for_each(judged, monkeypatch):
    assert judged(arithmetic="int8").arithmetic == "int8"
    names = iter(["float32", "int8"])
    monkeypatch.setattr("llama_edu.llama.Llama.arithmetic", property(lambda _: next(names)))
    assert judged().arithmetic == "a.gguf: float32, b.gguf: int8"


def test_a_file_beside_itself_computes_the_same(judged):
    found = judged("a.gguf", "a.gguf").files[1]
    assert found.difference.loss == Estimate(0.0, 0.0) and found.difference.kl_largest == 0
    assert "computes the same probabilities; 100.0% same first choice" in found.sentence


def test_the_same_bits_in_other_orders_of_work_and_in_threads(judged):
    alone = judged()
    with ThreadPoolExecutor(3) as pool:
        assert judged(map=pool.map) == alone

    def backward(function, pieces):
        return [function(piece) for piece in reversed(pieces)]

    assert judged(map=backward) == alone
    seen = []
    judged(map=map, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(n, alone.n_windows) for n in range(1, alone.n_windows + 1)]


def test_the_first_windows_alone_and_one_window_has_no_error(judged):
    found = judged(at_most=1)
    assert found.n_windows == 1 and found.files[0].nats.error is None
    assert "One window alone has no standard error" in str(found)
    assert judged(at_most=2).n_windows == 2


def test_llama_cpps_windows_and_strides_are_said(judged):
    assert "cut as llama.cpp does: BOS stands in" in str(judged("a.gguf", windows="llama.cpp"))
    overlapping = judged("a.gguf", stride=3)
    assert "that overlap" in str(overlapping)
    assert overlapping.n_tokens == judged("a.gguf").n_tokens


DIFFERENCE = Difference(Estimate(0.012, 0.003), Estimate(0.02, 0.001), 0.1, 0.2, 0.3, 0.4,
                        Estimate(0.971, 0.004))  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (Estimate(0.012, 0.003), "loses 0.0120 ± 0.0030 nats per token; 97.1% same first"),
        (Estimate(-0.012, 0.003), "gains 0.0120 ± 0.0030 nats per token; 97.1% same first"),
        (Estimate(0.012, 0.013), "loses 0.012 ± 0.013 nats per token, no more than chance gives;"),
        (Estimate(float("nan"), 0.01), "nan ± 0.010 nats per token, no more than chance gives"),
        (Estimate(0.5, None), "loses 0.5000 nats per token; 97.1%"),
    ],
)
def test_the_sentence(loss, sentence):
    file = FileQuality("q4_0", Estimate(3, 0.1), 0.1, replace(DIFFERENCE, loss=loss))
    assert sentence in file.sentence


def test_rows_are_plain_and_one_for_each_file(judged):
    found = judged()
    rows = found.to_rows()
    assert [row["name"] for row in rows] == ["a.gguf", "b.gguf"]
    assert rows[0].keys() == rows[1].keys() and rows[0]["difference_loss_mean"] is None
    assert rows[1]["difference_kl_99"] == found.files[1].difference.kl_99
    json.dumps([rows, asdict(found)], allow_nan=False)


def other_vocabulary(folder, name, change):
    """A copy of a.gguf with another vocabulary."""
    pieces = small_vocabulary()
    keys = change(pieces) or {}
    (folder / f"{name}.tok").write_bytes(tokenizer_bin(pieces))
    convert(folder / "a.bin", folder / f"{name}.gguf", to="gguf",
            tokenizer=folder / f"{name}.tok", set_keys=keys)  # fmt: skip
    return f"{name}.gguf"


def test_two_vocabularies_are_refused_and_the_difference_is_named(folder, judged):
    def renamed(pieces):
        pieces[265] = (b"\x1b[2Jzz", pieces[265][1])

    def without_bos(pieces):
        return {"tokenizer.ggml.add_bos_token": "false"}

    def scores(pieces):
        for i in range(259, len(pieces)):
            pieces[i] = (pieces[i][0], -pieces[i][1])

    name = other_vocabulary(folder, "renamed", renamed)
    with pytest.raises(RequestError, match=rf"{name}: token 265 is .*\\x1b\[2Jzz.*, expected"):
        judged("a.gguf", name)
    name = other_vocabulary(folder, "plain", without_bos)
    with pytest.raises(RequestError, match="how a text begins: no BOS, expected a text begins"):
        judged("a.gguf", name)
    config = small_config(vocab_size=270)
    weights = random_weights(config, np.random.default_rng(1))
    (folder / "fewer.bin").write_bytes(llama2c_v0(config, weights))
    (folder / "fewer.tok").write_bytes(tokenizer_bin(small_vocabulary(270)))
    convert(folder / "fewer.bin", folder / "fewer.gguf", to="gguf", tokenizer=folder / "fewer.tok")
    with pytest.raises(RequestError, match="pieces in its vocabulary: 270, expected 271"):
        judged("a.gguf", "fewer.gguf")


@pytest.mark.parametrize("how", ["replaced", "changed", "removed"])
def test_a_file_replaced_between_two_pieces_is_named_and_not_averaged_over(
    folder, tmp_path, text, how
):
    for name in ("a.gguf", "b.gguf"):
        shutil.copy(folder / name, tmp_path / name)

    def disturbed(function, pieces):
        for number, piece in enumerate(pieces):
            if number == 2 and how == "replaced":
                shutil.copy(folder / "a.gguf", tmp_path / "new")
                (tmp_path / "new").replace(tmp_path / "b.gguf")
            elif number == 2 and how == "changed":
                os.utime(tmp_path / "b.gguf", ns=(1, 1))
            elif number == 2:
                (tmp_path / "b.gguf").unlink()
            yield function(piece)

    said = {"removed": r"b.gguf: can no longer be found"}.get(how, rf"b.gguf: was {how} between")
    with pytest.raises(FileReplacedError, match=said):
        judge(tmp_path / "a.gguf", tmp_path / "b.gguf", text=text, context=9, kernels="numpy",
              map=disturbed)  # fmt: skip
    assert not opened_module._open


def test_what_was_done_is_kept_where_an_engine_ends(judged):
    def dying(function, pieces):
        yield from map(function, pieces[:3])
        raise OSError("the cable was cut")

    with pytest.raises(EngineError, match=r"after 3 of \d+ .*OSError: the cable was cut") as raised:
        judged(map=dying)
    kept = raised.value.kept
    assert kept.cut_short and kept.n_windows == 3
    assert replace(kept, n_planned=3, cut_short=False, windows="") == replace(
        judged(at_most=3), windows=""
    )
    assert isinstance(raised.value.__cause__, OSError)


def test_what_was_done_is_kept_after_ctrl_c(judged):
    def interrupted(function, pieces):
        yield from map(function, pieces[:2])
        raise KeyboardInterrupt

    found = judged(map=interrupted)
    assert found.cut_short and found.n_windows == 2
    assert f"Cut short: 2 of {found.n_planned} windows were done" in str(found)

    def at_once(function, pieces):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judged(map=at_once)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"context": 1}, "context is 1, expected 2 to 50"),
        ({"context": 51}, "context is 51, expected 2 to 50"),
        ({"at_most": 0}, "at_most is 0, expected 1 window or more"),
        ({"text": ""}, "the text has 0 tokens"),
    ],
)
def test_impossible_wishes_are_said(folder, text, options, sentence):
    with pytest.raises(RequestError, match=sentence):
        judge(folder / "a.gguf", **({"text": text, "kernels": "numpy"} | options))


def test_a_piece_is_small_and_holds_nothing_open(folder, text):
    import pickle

    pieces = []

    def look(function, given):
        pieces.extend(given)
        return map(function, given)

    judge(folder / "a.gguf", text=text, context=9, kernels="numpy", map=look)
    number, piece = pieces[1]
    assert number == 1 and len(pickle.dumps(piece)) < 3000
    again = score_window(pickle.loads(pickle.dumps(piece)))
    opened_module.close_opened()
    np.testing.assert_array_equal(again.nats[0], score_window(piece).nats[0])
    opened_module.close_opened()
