"""One job at a time, and the failure of the last one."""

from __future__ import annotations

import threading

from llama_edu.show.runtime.worker import Worker


def test_a_worker_does_one_job_at_a_time_and_remembers_a_failure():
    changes, gate = [], threading.Event()
    worker = Worker(lambda: changes.append(worker.busy))
    assert worker.start(gate.wait)
    assert not worker.start(gate.wait) and worker.busy
    with worker.foreground() as is_free:
        assert not is_free
    gate.set()
    assert worker.wait(20) and changes == [True, False]
    assert worker.start(lambda: 1 / 0) and worker.wait(20)
    assert worker.failure == "ZeroDivisionError: division by zero" and not worker.busy
    with worker.foreground() as is_free:
        assert is_free and worker.failure == ""
