"""Torch's files read without torch: every tensor found in place, every other program refused."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.opened import read_pth
from helpers.small_models import (
    legacy_pth_file,
    op_int,
    op_tensor,
    op_text,
    pickle_of,
    pth_file,
    torch_zip,
)
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.errors import FormatError
from llama_edu.files.mapped import MappedFile


@pytest.fixture
def arrays(rng) -> dict[str, np.ndarray]:
    return {
        "a.weight": rng.standard_normal((5, 3)).astype("<f2"),
        "b.weight": rng.standard_normal((2, 1)).astype("<f4"),
        "norm.weight": rng.standard_normal(1).astype("<f8"),
    }


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "consolidated.00.pth"


def zip_of(path: Path, program: bytes, n_bytes: int = 64) -> Path:
    path.write_bytes(torch_zip({"data.pkl": program, "data/0": bytes(n_bytes)}))
    return path


def tensor(key="0", storage="HalfStorage", numel=32, offset=0, shape=(4, 8), strides=(8, 1)):
    return op_tensor(key, storage, numel, offset, shape, strides)


def dict_of(value: bytes, name: str = "w") -> bytes:
    return b"\x80\x02}(" + op_text(name) + value + b"u."


@pytest.mark.parametrize("make", [pth_file, legacy_pth_file], ids=["zip", "before torch 1.6"])
def test_every_tensor_is_found_in_place(path, arrays, make):
    path.write_bytes(make(arrays))
    contents = read_pth(path)
    assert set(contents.tensors) == set(arrays) and contents.other_names == ()
    with MappedFile(path) as mapped:
        for name, expected in arrays.items():
            view = mapped.view(contents.tensors[name])
            np.testing.assert_array_equal(view, expected)
            assert view.dtype == expected.dtype and not view.flags.owndata
            del view


def test_zip_records_start_at_multiples_of_64(path, arrays):
    path.write_bytes(pth_file(arrays))
    assert all(spec.offset % 64 == 0 for spec in read_pth(path).tensors.values())


def test_the_pickle_range_holds_the_program(path, arrays):
    for make in (pth_file, legacy_pth_file):
        data = make(arrays)
        path.write_bytes(data)
        start, n_bytes = read_pth(path).pickle_range
        program = data[start : start + n_bytes]
        assert program.startswith(b"\x80\x02}(") and program.endswith(b"u.")


def test_an_older_zip_without_byteorder_under_another_folder_is_read(path, arrays):
    records = {"data.pkl": pickle_of(arrays)}
    records |= {f"data/{i}": a.tobytes() for i, a in enumerate(arrays.values())}
    path.write_bytes(torch_zip(records, top="archive"))
    assert set(read_pth(path).tensors) == set(arrays)


def test_a_zip_written_by_pythons_own_zipfile_is_read(path, arrays):
    """No padding, no extra field: the local header alone says where data start."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickle_of(arrays))
        for key, array in enumerate(arrays.values()):
            archive.writestr(f"x/data/{key}", array.tobytes())
    contents = read_pth(path)
    with MappedFile(path) as mapped:
        for name, expected in arrays.items():
            np.testing.assert_array_equal(mapped.view(contents.tensors[name]), expected)


def test_tensors_may_share_a_storage_at_different_offsets(path):
    numbers = np.arange(20, dtype="<f4")
    program = b"\x80\x02}(" + op_text("first") + tensor("0", "FloatStorage", 20, 0, (3, 4), (4, 1))
    program += op_text("second") + tensor("0", "FloatStorage", 20, 12, (8,), (1,)) + b"u."
    path.write_bytes(torch_zip({"data.pkl": program, "data/0": numbers.tobytes()}))
    contents = read_pth(path)
    with MappedFile(path) as mapped:
        np.testing.assert_array_equal(
            mapped.view(contents.tensors["first"]), numbers[:12].reshape(3, 4)
        )
        np.testing.assert_array_equal(mapped.view(contents.tensors["second"]), numbers[12:])


def test_strides_that_are_not_c_order_are_honored(path):
    numbers = np.arange(12, dtype="<f4").reshape(3, 4)
    program = dict_of(tensor("0", "FloatStorage", 12, 0, (4, 3), (1, 4)))
    path.write_bytes(torch_zip({"data.pkl": program, "data/0": numbers.tobytes()}))
    with MappedFile(path) as mapped:
        np.testing.assert_array_equal(mapped.view(read_pth(path).tensors["w"]), numbers.T)


@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
def test_the_weights_of_a_training_run_are_found_inside_their_wrapper(path, wrapper):
    program = b"\x80\x02}(" + op_text("step") + op_int(7) + op_text(wrapper)
    program += b"}(" + op_text("_orig_mod.w") + tensor() + b"uu."
    contents = read_pth(zip_of(path, program))
    assert list(contents.tensors) == ["w"]


def test_whole_numbers_are_listed_and_not_mapped(path):
    program = b"\x80\x02}(" + op_text("w") + tensor() + op_text("step")
    program += tensor("0", "LongStorage", 1, 0, (1,), (1,)) + b"u."
    assert read_pth(zip_of(path, program)).other_names == ("step",)


def test_a_legacy_file_with_storages_outside_the_weights_is_read_right(path):
    """Every storage's size counts for the place of the next, also an optimizer's."""
    state = {"o": np.ones(3, "<f8"), "w": np.arange(4, dtype="<f4")}
    data = legacy_pth_file(state)
    items = data[data.index(b"}(") : data.index(b"u.") + 1]
    o, w = items.index(op_text("o")), items.index(op_text("w"))
    wrapped = b"}(" + op_text("optimizer") + b"}(" + items[o:w] + b"u"
    wrapped += op_text("model") + b"}(" + items[w:-1] + b"uu"
    path.write_bytes(data.replace(items, wrapped))
    contents = read_pth(path)
    with MappedFile(path) as mapped:
        np.testing.assert_array_equal(mapped.view(contents.tensors["w"]), [0, 1, 2, 3])


# --- truncation and damage ---------------------------------------------------------------------


@pytest.mark.parametrize("make", [pth_file, legacy_pth_file], ids=["zip", "before torch 1.6"])
def test_a_file_cut_at_any_byte_is_refused_or_reads_the_same(path, arrays, make):
    data = make(arrays)
    path.write_bytes(data)
    whole = read_pth(path)
    for n_bytes in reversed(range(len(data))):
        os.truncate(path, n_bytes)
        try:
            assert read_pth(path) == whole
        except FormatError as error:
            assert str(path) in str(error)


@given(st.data())
def test_a_flipped_byte_never_ends_in_another_error(tmp_path, data):
    arrays = {"a.weight": np.ones((3, 2), "<f2"), "b": np.ones(5, "<f4")}
    make = data.draw(st.sampled_from([pth_file, legacy_pth_file]))
    file = bytearray(make(arrays))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "x.pth"
    path.write_bytes(file)
    try:
        contents = read_pth(path)
    except FormatError:
        return
    with MappedFile(path) as mapped:
        for spec in contents.tensors.values():
            mapped.view(spec)


@given(st.binary(max_size=60))
def test_any_program_ends_in_a_format_error_or_tensors(tmp_path, program):
    path = zip_of(tmp_path / "x.pth", b"\x80\x02" + program + b".")
    with pytest.raises(FormatError):
        read_pth(path)


def test_a_compressed_record_is_refused(path, arrays):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickle_of(arrays) + bytes(500))
    with pytest.raises(FormatError, match=r"x/data.pkl is compressed and cannot be mapped"):
        read_pth(path)


def test_two_records_of_one_name_are_refused(path):
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", dict_of(tensor()))
        archive.writestr("x/data.pkl", dict_of(tensor()))
    with pytest.raises(FormatError, match="two records of the zip have one name"):
        read_pth(path)


def test_a_zip_that_is_no_checkpoint_is_named(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(FormatError, match=r"a zip with 0 data.pkl records, expected one; this is"):
        read_pth(path)


def test_big_endian_numbers_are_refused(path):
    path.write_bytes(torch_zip({"data.pkl": dict_of(tensor()), "byteorder": b"big"}))
    with pytest.raises(FormatError, match="numbers are big-endian, expected little-endian"):
        read_pth(path)


def test_zip64_offsets_beyond_any_file_are_refused(path):
    data = bytearray(torch_zip({"data.pkl": dict_of(tensor()), "data/0": bytes(64)}))
    first = data.index(b"PK\1\2")
    name_bytes = struct.unpack_from("<H", data, first + 28)[0]
    struct.pack_into("<I", data, first + 42, 0xFFFFFFFF)  # the offset is in the zip64 extra field
    extra = struct.pack("<HHQ", 1, 8, 2**64 - 1)
    struct.pack_into("<H", data, first + 30, len(extra))
    at = first + 46 + name_bytes
    data[at:at] = extra
    end = data.rindex(b"PK\5\6")
    struct.pack_into("<I", data, end + 12, struct.unpack_from("<I", data, end + 12)[0] + len(extra))
    path.write_bytes(data)
    with pytest.raises(FormatError, match="zip"):
        read_pth(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"shape": (5, 8)}, "w needs 80 bytes of its storage, which has 64; the file is damaged"),
        ({"offset": 1}, "w needs 66 bytes of its storage, which has 64"),
        ({"key": "7"}, "w is in storage 7, which the file does not have"),
        ({"shape": (4, 8), "strides": (0, 1)}, r"w of shape \(4, 8\) repeats its 16 bytes"),
        ({"shape": (4, -8)}, "its pickle is damaged .*impossible sizes"),
        ({"strides": (8, -1)}, "its pickle is damaged .*impossible sizes"),
        ({"offset": -1}, "its pickle is damaged .*impossible sizes"),
        ({"strides": (8,)}, "its pickle is damaged .*impossible sizes"),
        ({"numel": -1}, "its pickle is damaged .*storage record"),
        ({"shape": (1,) * 50, "strides": (1,) * 50}, "its pickle is damaged .*impossible sizes"),
        ({"shape": (2**31 - 1,) * 8, "strides": (1,) * 8}, "the file is damaged"),
    ],
)
def test_a_tensor_that_does_not_fit_its_storage_is_named(path, changes, sentence):
    with pytest.raises(FormatError, match=sentence):
        read_pth(zip_of(path, dict_of(tensor(**changes))))


def test_a_number_of_a_million_digits_is_only_damage(path):
    big = b"\x8b" + struct.pack("<i", 400_000) + b"\x7f" * 400_000  # LONG4
    program = dict_of(tensor()).replace(b"tQ" + op_int(0), b"tQ" + big)
    with pytest.raises(FormatError, match=r"its pickle is damaged .*impossible sizes"):
        read_pth(zip_of(path, program))


def test_names_from_the_file_are_shown_with_their_escapes(path):
    with pytest.raises(FormatError) as caught:
        read_pth(zip_of(path, dict_of(tensor(shape=(5, 8)), name="\x1b[2J\u202ew")))
    assert r"\x1b[2J\u202ew needs 80 bytes" in str(caught.value)


def test_a_file_without_tensors_is_named(path):
    with pytest.raises(FormatError, match="holds no tensors, expected a dict of names and tensors"):
        read_pth(zip_of(path, dict_of(op_int(1))))


# --- programs that want more than tensors ------------------------------------------------------

MARKER = "LLAMA_EDU_WAS_HERE"


class Runs:
    def __reduce__(self):
        return os.putenv, (MARKER, "1")


def global_op(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


FOREIGN = {
    "REDUCE of os.system": global_op("os", "system") + op_text("touch marker") + b"\x85R.",
    "REDUCE of posix.system": global_op("posix", "system") + op_text("touch marker") + b"\x85R.",
    "INST of os.system": b"(" + op_text("touch marker") + b"ios\nsystem\n.",
    "OBJ of os.system": b"(" + global_op("os", "system") + op_text("touch marker") + b"o.",
    "STACK_GLOBAL": op_text("os") + op_text("system") + b"\x93" + op_text("touch") + b"\x85R.",
    "NEWOBJ": global_op("subprocess", "Popen") + op_text("touch marker") + b"\x85\x81.",
    "NEWOBJ_EX": global_op("subprocess", "Popen") + op_text("touch marker") + b"\x85}\x92.",
    "a builtin": global_op("builtins", "eval") + op_text("open('marker', 'w')") + b"\x85R.",
    "Python 2's builtin": global_op("__builtin__", "eval") + op_text("1") + b"\x85R.",
    "resolve_name": global_op("pkgutil", "resolve_name") + op_text("os:system") + b"\x85R.",
    "getattr": global_op("builtins", "getattr") + b".",
    "a dotted name": op_text("torch") + op_text("storage.UntypedStorage.__init__") + b"\x93.",
    "a dotted allowed name": op_text("collections") + op_text("OrderedDict.fromkeys") + b"\x93.",
    "torch.load": global_op("torch", "load") + b".",
    "a name in another module": global_op("torch._utils", "OrderedDict") + b".",
    "this package": global_op("llama_edu.files.torch.pth", "read_pth") + b".",
    "inside a tensor": dict_of(
        tensor().replace(global_op("collections", "OrderedDict"), global_op("os", "getcwd"))
    )[2:],
}  # fmt: skip


@pytest.mark.parametrize("program", FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_any_other_global_is_refused_by_name_and_nothing_runs(path, in_folder, program, form):
    if form == "zip":
        zip_of(path, b"\x80\x04" + program)
    else:
        data = legacy_pth_file({"w": np.ones(3, "<f4")})
        path.write_bytes(data[: data.index(b"\x80\x02}(")] + b"\x80\x04" + program)
    expected = r"its pickle asks for \S+\.\S+, expected only names .* none of it was run"
    with pytest.raises(FormatError, match=expected):
        read_pth(path)
    assert not (in_folder / "marker").exists()


def test_a_real_pickle_of_a_real_object_is_refused(path):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        zip_of(path, pickle.dumps({"w": Runs()}, protocol))
        with pytest.raises(FormatError, match=r"asks for posix.putenv|asks for nt.putenv"):
            read_pth(path)
    assert os.environ.get(MARKER) is None


REBUILD = global_op("torch._utils", "_rebuild_tensor_v2")
HALF = global_op("torch", "HalfStorage")
ORDERED = global_op("collections", "OrderedDict")
DOUBLING = b")" + b"2\x86" * 200  # () then 200 times (x, x): hashing it takes 2**200 steps
DEEP = b")" + b"\x85" * 200_000  # ((((...)))): hashing it takes all of the stack

DAMAGED = {
    "BUILD on a function": REBUILD + b"}(" + op_text("__code__") + op_int(1) + b"ub.",
    "BUILD on a type": HALF + b"}(" + op_text("name") + op_text("x") + b"ub.",
    "REDUCE of a storage type": HALF + b")R.",
    "REDUCE of a list": b"])R.",
    "REDUCE with too few arguments": REBUILD + b")R.",
    "NEWOBJ of a function": REBUILD + b")\x81.",
    "NEWOBJ of a number": op_int(5) + b")\x81.",
    "an empty program": b"",
    "STOP alone": b".",
    "no STOP": b"}",
    "an unknown opcode": b"\xff.",
    "GET of nothing": b"g5\n.",
    "an extension code": b"\x82\x01.",
    "a persistent id that is text": b"Pabc\n.",
    "a persistent id that is a number": op_int(5) + b"Q.",
    "an id of another kind": b"(" + op_text("module") * 5 + b"tQ.",
    "a hash of doubled tuples": b"}" + DOUBLING + op_int(1) + b"s.",
    "many hashes of doubled tuples": b"}(" + DOUBLING + op_int(1) + b"u.",
    "a dict by mark": b"(" + DOUBLING + op_int(1) + b"d.",
    "a set": b"\x8f(" + DOUBLING + b"\x90.",
    "a frozen set": b"(" + DOUBLING + b"\x91.",
    "an OrderedDict of pairs": ORDERED + b"](](" + DOUBLING + op_int(1) + b"ee\x85R.",
    "a hash of deep tuples": b"}" + DEEP + op_int(1) + b"s.",
    "a bytearray of 2**40": b"\x96" + struct.pack("<Q", 2**40) + b".",
    "bytes of 2**40": b"\x8e" + struct.pack("<Q", 2**40) + b".",
    "text of 2**63": b"\x8d" + struct.pack("<Q", 2**63) + b".",
    "a frame of 2**60": b"\x95" + struct.pack("<Q", 2**60) + b".",
    "a memo entry far away": b"}r\xff\xff\xff\xff0.",
    "lists in lists": b"]" * 100_000 + b"a" * 99_999 + b".",
    "a dict that holds itself": b"}q\0" + op_text("model") + b"h\0s.",
}  # fmt: skip


@pytest.mark.parametrize("program", DAMAGED.values(), ids=DAMAGED.keys())
@pytest.mark.timeout(20)
def test_tricks_and_bombs_end_in_a_sentence(path, program):
    with pytest.raises(FormatError, match=r"its pickle is damaged|holds no tensors"):
        read_pth(zip_of(path, b"\x80\x04" + program))


@pytest.mark.slow
def test_a_file_saved_by_torch_is_read_like_torch_reads_it(path, rng):
    torch = pytest.importorskip("torch")
    base = torch.from_numpy(rng.standard_normal((6, 4)).astype(np.float32))
    saved = {
        "plain": base, "half": base.half(), "transposed": base.T, "slice": base[1:3],
        "brain": base.bfloat16(), "parameter": torch.nn.Parameter(base[:, 0].clone()),
    }  # fmt: skip
    for new_zip in (True, False):
        torch.save(saved, path, _use_new_zipfile_serialization=new_zip)
        contents = read_pth(path)
        with MappedFile(path) as mapped:
            for name, expected in saved.items():
                view = mapped.view(contents.tensors[name])
                if name == "brain":
                    view = (view["bf16"].astype(np.uint32) << 16).view(np.float32)
                np.testing.assert_array_equal(view, expected.detach().float().numpy())
                del view
