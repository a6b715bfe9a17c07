"""Figures and tables on weight files: where data start, how parts are cut, the museum."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from helpers.small_models import (
    ggml_file,
    old_config,
    random_weights,
    small_vocabulary,
    write_ggml_shards,
)

from llama_edu.convert import convert
from llama_edu.errors import FormatError, RequestError, ShapeError
from llama_edu.files.layout import ShardedTensor, TensorSpec
from llama_edu.files.parts.shards import join
from llama_edu.show.figures.formats.alignment import KINDS, alignment_figure, tensor_starts
from llama_edu.show.figures.formats.split import n_runs, part_of_each, split_figure
from llama_edu.show.text.hexview import hex_view
from llama_edu.show.text.museum import exhibit, museum


@pytest.fixture
def files(in_folder, rng):
    """The same small model as ggmf and ggjt, by an independent writer; relative paths."""
    config = old_config()
    weights = random_weights(config, rng)
    pieces = small_vocabulary(config.vocab_size)
    for name, magic in (("old.ggml", b"lmgg"), ("old.ggmf", b"fmgg"), ("new.ggjt", b"tjgg")):
        (in_folder / name).write_bytes(ggml_file(config, weights, pieces, magic=magic))
    return {path.suffix: path.relative_to(in_folder) for path in in_folder.iterdir()}


def test_every_byte_at_a_tensor_start_has_its_kind(files):
    data = files[".ggjt"].read_bytes()
    name = b"tok_embeddings.weight"
    name_at = data.index(name)
    start = tensor_starts(files[".ggjt"], 1)[0]
    assert start.first == (name_at - 20) // 32 * 32  # three numbers and two sizes before the name
    assert start.characters == data[start.first : start.data_offset + 32]
    kinds = np.array(KINDS)[start.kinds.reshape(-1)]
    n_padding = -(name_at + len(name)) % 32
    expected = (
        ["what was before"] * (name_at - 20 - start.first)
        + ["sizes and type"] * 20 + ["name"] * len(name) + ["padding"] * n_padding + ["data"] * 32
    )  # fmt: skip
    assert kinds.tolist() == expected


def test_only_aligned_files_have_data_at_multiples_of_32(files):
    drawn = alignment_figure([files[".ggmf"], files[".ggjt"]], n_tensors=3)
    data = files[".ggmf"].read_bytes()
    ends = [data.index(name) + len(name) for name in (
        b"tok_embeddings.weight", b"norm.weight", b"output.weight",
    )]  # fmt: skip
    columns = ", ".join(str(end % 32) for end in ends)
    assert f"in old.ggmf: {columns}; in new.ggjt: 0, 0, 0." in drawn.alt
    assert [axes.get_title(loc="left") for axes in drawn.figure.axes] == ["old.ggmf", "new.ggjt"]
    assert drawn.png().startswith(b"\x89PNG")


def test_the_alignment_figure_refuses_a_file_without_records(files):
    convert(files[".ggjt"], "new.gguf", to="gguf")
    with pytest.raises(RequestError, match=r"new.gguf: has no record before each tensor, expected"):
        tensor_starts(files[".ggjt"].with_name("new.gguf"), 1)


@pytest.mark.parametrize("axis", [0, 1])
def test_the_parts_drawn_are_the_parts_that_are_joined(axis):
    rows, columns, n_parts = 4, 6, 2
    pieces = [np.full((2, 6) if axis == 0 else (4, 3), part) for part in range(n_parts)]
    specs = tuple(
        TensorSpec("x", "f32", piece.shape, 0, piece.nbytes, part)
        for part, piece in enumerate(pieces)
    )
    whole = join(
        ShardedTensor("x", "f32", (rows, columns), axis, specs), lambda spec: pieces[spec.file]
    )
    np.testing.assert_array_equal(part_of_each(rows, columns, n_parts, axis), whole)


def test_a_cut_by_columns_makes_a_run_for_each_row_and_part():
    assert n_runs(part_of_each(6, 5, 3, axis=0)) == 3
    assert n_runs(part_of_each(5, 6, 3, axis=1)) == 15


def test_unequal_parts_are_refused():
    with pytest.raises(ShapeError, match="4 x 6: 6 columns cannot be cut into 4 equal parts"):
        part_of_each(4, 6, 4, axis=1)


def test_the_figure_of_the_cut_says_how_many_runs_there_are():
    drawn = split_figure(4, 6, 2)
    assert "one run of the joined file (2 in all)" in drawn.alt
    assert drawn.alt.endswith("the parts alternate in 8 runs.")
    labels = [text.get_text() for text in drawn.figure.axes[0].texts]
    assert labels == [str(i) for i in range(24)]


def test_the_museum_shows_the_bytes_that_spell_a_piece(files):
    convert(files[".ggjt"], "new.gguf", to="gguf")
    newline, he = 3 + 10, small_vocabulary().index((b" the", -2.0))
    old, gguf = (exhibit(path, (newline, he)) for path in (
        files[".ggml"], files[".ggjt"].with_name("new.gguf"),
    ))  # fmt: skip
    assert (old.magic, old.has_scores, old.pieces) == (b"lmgg", False, (b"\n", b" the"))
    assert gguf.pieces == (b"<0x0A>", "\u2581the".encode())
    assert (gguf.magic, gguf.has_scores, gguf.alignment) == (b"GGUF", True, 32)
    raw = files[".ggjt"].with_name("new.gguf").read_bytes()
    for piece in gguf.pieces:  # in the file as the exhibit says, after its length
        assert struct.pack("<Q", len(piece)) + piece in raw


def test_the_museum_is_a_table_with_one_line_for_each_file(files):
    table = museum([files[".ggml"], files[".ggmf"], files[".ggjt"]], (13,)).splitlines()
    assert table[0].split() == ["format", "magic", "bytes", "aligned", "scores", "token", "13"]
    assert [line.split("  ")[0] for line in table[1:]] == [
        "ggml (unversioned)", "ggmf v1", "ggjt v1",
    ]  # fmt: skip
    assert table[3].split()[2:] == [
        "b'tjgg'", f"{files['.ggjt'].stat().st_size:,}", "to", "32", "yes", "b'\\n'",
    ]  # fmt: skip


def test_the_museum_names_what_it_cannot_show(in_folder, files, rng):
    with pytest.raises(RequestError, match=r"new.ggjt: token 300, expected 0 to 299"):
        exhibit(files[".ggjt"], (300,))
    config = old_config()
    write_ggml_shards(
        in_folder / "two.ggmf", 2, config, random_weights(config, rng),
        small_vocabulary(config.vocab_size), magic=b"fmgg",
    )  # fmt: skip
    with pytest.raises(RequestError, match=r"two.ggmf: expected a checkpoint in one file"):
        exhibit(in_folder / "two.ggmf", (13,))
    with pytest.raises(FormatError, match=r"none.ggjt: no such file"):
        exhibit(in_folder / "none.ggjt", (13,))


def test_a_hex_view_may_start_anywhere(files):
    data = files[".ggjt"].read_bytes()
    name_at = data.index(b"norm.weight")
    lines = hex_view(files[".ggjt"], 15, start=name_at - 4).splitlines()
    assert [line.split()[0] for line in lines] == [
        f"{name_at - 4:x}", f"{name_at:x}", f"{name_at + 8:x}",
    ]  # fmt: skip
    assert lines[0].endswith("tensor size = 32")
    assert lines[1].endswith("norm.wei  tensor name = b'norm.weight'")
    assert bytes.fromhex("".join(line[10:34] for line in lines)) == data[name_at - 4 : name_at + 11]


def test_a_hex_view_that_starts_inside_a_field_names_it(files):
    name_at = files[".ggjt"].read_bytes().index(b"norm.weight")
    (line,) = hex_view(files[".ggjt"], 3, start=name_at + 5).splitlines()
    assert line.split() == [f"{name_at + 5:x}", *b"wei".hex(" ").split(), "wei", *line.split()[5:]]
    assert line.endswith("tensor name = b'norm.weight'")


def test_a_hex_view_before_the_file_is_refused(files):
    with pytest.raises(RequestError, match="starts at byte -1, expected 0 or more"):
        hex_view(files[".ggjt"], 3, start=-1)
