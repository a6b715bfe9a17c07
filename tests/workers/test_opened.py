"""Models that a process keeps open: once each, a few of them, and the same file for all pieces."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import replace

import pytest
from helpers.small_models import llama2c_v0, random_weights, small_config

from llama_edu.errors import FormatError
from llama_edu.workers import opened as module
from llama_edu.workers.opened import FileReplacedError, WeightsFile, close_opened, opened


@pytest.fixture
def path(tmp_path, weights):
    path = tmp_path / "m.bin"
    path.write_bytes(llama2c_v0(small_config(), weights))
    yield path
    close_opened()


def test_a_file_is_opened_once_and_closed_when_asked(path):
    file = WeightsFile.at(path, kernels="numpy")
    with opened(file) as first, opened(file) as second:
        assert first is second
        close_opened()
        assert first.llama.weights, "in use"
    assert first.once("n", lambda llama: llama.config.dim) == first.once("n", lambda _: 0) == 24
    close_opened()
    with opened(file) as third:
        assert third is not first and not third.kept


def test_numpys_kernels_have_one_thread_because_its_bits_depend_on_them(path):
    with opened(WeightsFile.at(path, kernels="numpy", threads=3)) as found:
        assert found.llama.model.threads == 1


def test_compiled_kernels_have_as_many_as_asked_for(path):
    pytest.importorskip("numba")
    with opened(WeightsFile.at(path, kernels="jit", threads=3)) as found:
        assert found.llama.model.threads == 3 and found.llama.is_compiled


def test_of_many_files_the_one_used_least_recently_is_closed(path, monkeypatch):
    monkeypatch.setattr(module, "MOST_OPEN", 2)
    files = []
    for name in "abc":
        shutil.copy(path, path.with_name(name))
        files.append(WeightsFile.at(path.with_name(name), kernels="numpy"))
    kept = []
    for file in files:
        with opened(file) as found:
            kept.append(found)
    assert list(module._open) == files[1:] and not kept[0].llama.weights


def test_several_threads_open_it_once(path, monkeypatch):
    file, seen = WeightsFile.at(path, kernels="numpy"), []
    barrier = threading.Barrier(4)

    def work():
        barrier.wait()
        with opened(file) as found:
            seen.append(found)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(found) for found in seen}) == 1 and len(seen) == 4


def test_a_relative_path_and_a_folder_mean_the_same_elsewhere(path, monkeypatch, tmp_path):
    monkeypatch.chdir(path.parent)
    file = WeightsFile.at("m.bin", kernels="numpy")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with opened(file) as found:
        assert found.llama.config.dim == 24
    assert file.name == "m.bin"


def test_another_file_of_the_same_size_and_time_is_another_file(path, rng):
    file = WeightsFile.at(path, kernels="numpy")
    then = path.stat()
    other = path.with_name("other")
    other.write_bytes(llama2c_v0(small_config(), random_weights(small_config(), rng)))
    os.utime(other, ns=(then.st_atime_ns, then.st_mtime_ns))
    other.replace(path)
    assert path.stat().st_size == then.st_size and path.stat().st_mtime_ns == then.st_mtime_ns
    with pytest.raises(FileReplacedError, match=r"m.bin: was replaced between two pieces"), \
         opened(file):  # fmt: skip
        pass


def test_what_is_no_model_is_said_at_once(tmp_path):
    with pytest.raises(FormatError, match="no such file"):
        WeightsFile.at(tmp_path / "none.gguf")


def test_on_another_host_a_copy_that_kept_its_time_is_the_same_file(path, tmp_path):
    file = replace(WeightsFile.at(path, kernels="numpy"), host="elsewhere")
    shutil.copy2(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    with opened(file) as found:
        assert found.llama.config.dim == 24
    os.utime(path, ns=(1, 1))
    with pytest.raises(FileReplacedError, match=r"bytes\) than on elsewhere .*cp -p, rsync -t"):
        file.check_same()
