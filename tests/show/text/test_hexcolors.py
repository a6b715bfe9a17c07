"""The hex view in color: the bytes of the file, each in the color of its field, and a legend."""

from __future__ import annotations

import html
import itertools
import re

import pytest
from helpers.small_models import ggml_file, old_config, random_weights, small_vocabulary

from llama_edu.errors import RequestError
from llama_edu.files.anatomy import fields_of
from llama_edu.show.text.hexcolors import hex_colors
from llama_edu.show.text.hexview import hex_view

SPAN = re.compile(r'<span title="(.*?)" style="background: (rgba\(.*?\));.*?">(.*?)</span>')


@pytest.fixture
def path(in_folder, rng):
    """A small ggjt file; its second piece would be markup."""
    config = old_config()
    pieces = small_vocabulary(config.vocab_size)
    pieces[1] = (b"<img src=x>", 0.0)
    data = ggml_file(config, random_weights(config, rng), pieces, magic=b"tjgg")
    (in_folder / "small.ggjt").write_bytes(data)
    return in_folder / "small.ggjt"


def rows_of(shown):
    """The lines above the legend."""
    text = re.sub(r"^<pre.*?>|</pre>$", "", shown._repr_html_())
    return text.split("\n\n")[0].splitlines()


@pytest.mark.parametrize(("start", "n_bytes"), [(0, 49), (16, 32), (5, 61), (33, 3)])
def test_the_bytes_are_those_of_the_file_at_their_places(path, start, n_bytes):
    found = b""
    for row in rows_of(hex_colors(path, n_bytes, start)):
        plain = html.unescape(re.sub("<.*?>", "", row))
        offset, middle, text = int(plain[:8], 16), plain[10:57], plain[59:]
        assert offset % 16 == 0
        n_before = (len(middle) - len(middle.lstrip())) // 3
        assert offset + n_before == start + len(found)
        data = bytes.fromhex(middle)
        found += data
        assert text.lstrip() == "".join(chr(b) if 32 <= b < 127 else "." for b in data).lstrip()
    assert found == path.read_bytes()[start : start + n_bytes]


def test_every_byte_has_the_color_and_the_name_of_its_field(path):
    shown = hex_colors(path, 61)
    spans = [span for row in rows_of(shown) for span in SPAN.findall(row)]
    colors: dict[str, set[str]] = {}
    for title, color, _ in spans:
        colors.setdefault(html.unescape(title), set()).add(color)
    fields = [field for field in fields_of(path) if field.offset < 61]
    names = [field.name for field in fields]
    assert len(names) == len(shown.fields) > 10
    assert {title.partition(" = ")[0] for title in colors} == set(names)
    in_order = list(colors.values())
    assert all(len(of_one) == 1 for of_one in in_order[:9]), "one field, several colors"
    for one, following in itertools.pairwise(in_order[:9]):
        assert one != following, "neighbors of one color"


def test_the_legend_has_a_line_for_each_field_and_nothing_of_it_is_markup(path):
    shown = hex_colors(path, 120)
    legend = shown._repr_html_().split("\n\n")[1].splitlines()
    assert len(legend) == len(shown.fields)
    assert "magic = b&#x27;tjgg&#x27;" in legend[0] and "vocab_size" in legend[2]
    whole = shown._repr_html_()
    assert "<img" not in whole and "&lt;img src=x&gt;" in whole


def test_without_a_notebook_it_is_the_hex_view(path):
    assert repr(hex_colors(path, 49, 4)) == hex_view(path, 49, 4)


def test_what_does_not_fit_is_refused(path):
    with pytest.raises(RequestError, match="1,025 bytes, expected at most 1,024; hex_view shows"):
        hex_colors(path, 1025)
    with pytest.raises(RequestError, match="expected 1 or more bytes"):
        hex_colors(path, 0)
