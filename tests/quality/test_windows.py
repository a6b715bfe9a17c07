"""A text in windows: what is read, what is scored, and what is refused."""

from __future__ import annotations

import pytest

from llama_edu.errors import RequestError
from llama_edu.quality.windows import windows_of

TOKENS = list(range(100, 123))  # 23 of them


def scored(windows):
    return [token for window in windows for token in window.ids[window.first :]]


@pytest.mark.parametrize("bos_id", [7, None])
@pytest.mark.parametrize("stride", [None, 1, 3, 5])
def test_each_token_is_scored_once_and_where_it_stands(bos_id, stride):
    windows = windows_of(TOKENS, bos_id, 6, stride)
    head = 0 if bos_id is not None else 1
    assert scored(windows) == TOKENS[head:]
    for window in windows:
        assert len(window.ids) <= 6 and window.first >= 1
        assert TOKENS[window.start :][: window.n_scored] == list(window.ids[window.first :])
        if bos_id is not None:
            assert window.ids[0] == 7
        behind = window.start - (window.first - 1)
        assert list(window.ids[1:]) == TOKENS[behind : behind + len(window.ids) - 1]
        if bos_id is None:
            assert window.ids[0] == TOKENS[behind - 1]


def test_with_a_stride_all_windows_but_the_first_have_context():
    windows = windows_of(TOKENS, 7, 6, 2)
    assert [w.first for w in windows] == [1, 4, 4, 4, 4, 4, 4, 4, 4, 4]
    assert [w.n_scored for w in windows] == [5, *[2] * 9]


def test_windows_of_llama_cpp_by_its_own_arithmetic():
    """n_ctx 6: chunks of the text with BOS; positions 3 and 4 predict tokens 4 and 5 of each."""
    windows = windows_of(TOKENS, 7, 6, way="llama.cpp")
    with_bos = [7, *TOKENS]
    assert len(windows) == len(with_bos) // 6 == 4
    for number, window in enumerate(windows):
        chunk = with_bos[6 * number : 6 * number + 6]
        assert list(window.ids) == [7, *chunk[1:]]
        assert list(window.ids[window.first :]) == chunk[4:] and window.n_scored == 6 - 6 // 2 - 1
        assert TOKENS[window.start] == chunk[4]
    plain = windows_of(TOKENS, None, 5, way="llama.cpp")
    assert [list(w.ids) for w in plain] == [TOKENS[i : i + 5] for i in (0, 5, 10, 15)]
    assert {w.first for w in plain} == {3}


def test_a_short_text_is_one_window():
    (window,) = windows_of(TOKENS[:3], 7, 6)
    assert window.ids == (7, *TOKENS[:3]) and window.n_scored == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([], 7, 6), "0 tokens, expected at least one"),
        (([3], None, 6), "1 tokens, expected at least two, as the model has no BOS"),
        ((TOKENS, 7, 6, 0), "stride is 0, expected 1 to 5"),
        ((TOKENS, 7, 6, 6), "stride is 6, expected 1 to 5"),
        ((TOKENS, 7, 13, None, "llama.cpp"), "24 tokens, expected at least 26, two of"),
        ((TOKENS, 7, 6, 2, "llama.cpp"), "have no token in common"),
        ((TOKENS, 7, 3, None, "llama.cpp"), "context is 3, expected at least 4"),
        ((TOKENS, 7, 6, None, "mine"), "windows is 'mine', expected one of ours, llama.cpp"),
    ],
)
def test_what_cannot_be_cut_is_said(arguments, sentence):
    with pytest.raises(RequestError, match=sentence):
        windows_of(*arguments)
