"""The table of all ways: on a small model, interrupted, refused, and by the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.small_models import ggml_file, old_config, random_weights, small_vocabulary

from llama_edu.errors import RequestError
from llama_edu.experiments.slimmer import slimmer
from llama_edu.slimmer.ways import rows as ways
from llama_edu.slimmer.ways.rows import TRAP, to_choose_by

TEXT = "The owl said: go down the hill and follow the water. Her father heard the rain there.\n" * 9
KINDS = ["unchanged", "stored type", "pruning", "low rank", "vocabulary", "inputs cut", "layers"]


@pytest.fixture
def files(tmp_path, rng):
    """A model of two layers as ggjt, and a text."""
    model, text = tmp_path / "small.bin", tmp_path / "text.txt"
    config = old_config()
    model.write_bytes(ggml_file(config, random_weights(config, rng), small_vocabulary(300)))
    text.write_text(TEXT)
    return model, text


def test_every_way_becomes_a_row_beside_the_unchanged_model(files):
    told = []
    found = slimmer(files[0], text_file=files[1], progress=lambda *n: told.append(n))
    assert list(dict.fromkeys(row.kind for row in found.rows)) == KINDS
    assert not found.cut_short and not found.quantized
    by_label = {row.label: row for row in found.rows}
    base = by_label["as it is"]
    assert (base.bytes_share, base.n_pages, base.nats) == (1, found.base_pages, 0)
    assert by_label["q8_0"].bytes_share == pytest.approx(34 / 64, abs=0.03)
    assert by_label["f32"].bytes_share == pytest.approx(2, abs=0.03)
    assert abs(by_label["f32"].nats) < 1e-5
    note = by_label["q6_k q5_k q4_k q3_k q2_k tq1_0"].note
    assert note == "rows of 32 numbers are no whole blocks of 256"
    for label in ("half of the weights, by size", "half of the weights, by Wanda"):
        row = by_label[label]
        assert row.bytes_share == 1 and row.n_pages == found.base_pages
        assert row.note == "no page saved: zeros are stored" and row.nats != 0
    assert by_label["fewer ids"].nats is None and "only 300 ids" in by_label["fewer ids"].note
    cut = by_label["50% of the inputs"]
    assert cut.n_pages == found.base_pages and 0.5 < cut.bytes_share < 0.65
    assert "1 layer left out" in by_label and "2 layers left out" not in by_label  # one layer stays
    assert len(found.layer_nats) == 2
    assert found.floor_pages < found.base_pages and 0 < found.floor_share < 1
    assert found.twelfth_pages == round(found.file_pages / 12)
    done, total = told[-1]
    assert [n for n, _ in told] == sorted(n for n, _ in told) and done <= total
    text = str(found)
    assert "Floor, attention and output alone" in text and "One twelfth of the file" in text
    assert "Interrupted" not in text and "rounded twice" not in text


def test_a_vocabulary_with_enough_ids_is_made_smaller_and_the_trap_is_named(files, monkeypatch):
    monkeypatch.setattr(ways, "FEWEST_IDS", 300)
    monkeypatch.setattr(ways, "FIRST_IDS", 280)
    found = slimmer(files[0], text_file=files[1])
    rows = {row.label: row for row in found.rows if row.kind in ("vocabulary", TRAP)}
    assert rows["first ids alone"].note.startswith("267 ids; ")  # 200, every byte and character
    for row in rows.values():
        assert row.bytes_share < 1 and "nats per character" in row.note
    assert rows["ids of the scored text"].kind == TRAP
    assert rows["ids of the scored text"].nats < 0 < rows["first ids alone"].nats
    assert "The trap" in str(found)


def test_an_interruption_gives_the_rows_that_are_done(files):
    def interrupt(done, total):
        if done > 3:
            raise KeyboardInterrupt

    found = slimmer(files[0], text_file=files[1], progress=interrupt)
    assert found.cut_short and 2 < len(found.rows) < 6
    assert "Interrupted: the ways that were not measured yet are missing." in str(found)


def test_a_quantized_file_says_that_other_types_are_rounded_twice(files, tmp_path):
    from llama_edu.convert import convert

    convert(files[0], tmp_path / "q8.gguf", to="gguf", type="q8_0")
    found = slimmer(tmp_path / "q8.gguf", text_file=files[1])
    assert found.quantized and "no ranking of types" in str(found).replace("\n", " ")
    notes = {row.label: row.note for row in found.rows}
    assert notes["q4_0"] == "rounded twice" and notes["f16"] == "" and "q8_0" not in notes


def test_the_command_prints_json_that_a_figure_can_be_made_of(files, run_cli):
    code, out, err = run_cli(
        "experiment", "slimmer", "--file", files[0], "--text-file", files[1], "--json"
    )
    assert code == 0, err
    found = json.loads(out)
    assert {"kind", "label", "bytes_share", "n_pages", "nats", "standard_error", "note"} == set(
        found["rows"][0]
    )
    assert found["rows"][0]["n_pages"] == found["base_pages"] and found["cut_short"] is False


def test_what_cannot_be_measured_is_said(files, tmp_path, run_cli):
    short = tmp_path / "short.txt"
    short.write_text("a")
    code, _, err = run_cli("experiment", "slimmer", "--file", files[0], "--text-file", short)
    assert code == 2 and "expected at least" in err
    code, _, err = run_cli("experiment", "illusion", "--text-file", short)
    assert code == 2 and "--text-file: experiment illusion takes no text" in err
    with pytest.raises(RequestError, match="cannot be read"):
        slimmer(files[0], text_file=tmp_path / "none.txt")


def test_layers_are_chosen_by_a_part_of_the_calibration_text():
    texts = [[1] * n for n in (200, 49, 7, 300)]
    assert to_choose_by(texts) == texts[:3]
    assert to_choose_by([[1] * 900, [1] * 5]) == [[1] * 900]


@pytest.mark.slow
def test_of_the_bundled_model_the_numbers_are_these():
    found = slimmer()
    rows = {row.label: row for row in found.rows}
    assert found.n_tokens == 1873 and found.base_nats == pytest.approx(0.1374, abs=1e-3)
    for label, share, nats in (
        ("q8_0", 0.53, 0), ("q4_0", 0.28, 0.001), ("1 layer left out", 0.84, 0.007),
        ("2 layers left out", 0.68, 0.067), ("3 layers left out", 0.52, 0.45),
        ("feed-forward in 0.75 of its bytes", 0.836, 0.007), ("50% of the inputs", 0.517, 0.005),
        ("half of the weights, by size", 1, 0.003), ("half of the weights, by Wanda", 1, 0.007),
    ):  # fmt: skip
        assert rows[label].bytes_share == pytest.approx(share, abs=0.006)
        assert rows[label].nats == pytest.approx(nats, abs=0.004)
    assert np.isfinite([row.nats for row in found.rows if row.nats is not None]).all()
