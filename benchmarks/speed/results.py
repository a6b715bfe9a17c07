"""What was measured with each file, and the file in which it is kept."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.contenders import DOT, DOT_BYTES
from benchmarks.speed.subjects import SUBJECTS
from benchmarks.timing import Ratio, Timing

N_PREFILL, N_DECODE = 128, 16
PREFILL, DECODE = f"prefill {N_PREFILL}", "decode"
#: Job -> how many tokens it computes.
N_TOKENS = {DECODE: N_DECODE, PREFILL: N_PREFILL}

RESULTS = Path(__file__).parents[1] / "speed.json"


@dataclass(frozen=True)
class Measured:
    """Everything about one file.

    Attributes:
        jobs: job -> contender -> what it took.
        token_bytes: of the weights, read for one token.
        about: a sentence on how and beside what it was measured.
    """

    jobs: Mapping[str, Mapping[str, Timing]]
    token_bytes: int
    about: str

    def ratio(self, job: str, ours: str, theirs: str) -> Ratio | None:
        """How many times as fast ours is, round by round; None where one of the two did not run."""
        times = self.jobs[job]
        return times[ours].ratio_to(times[theirs]) if ours in times and theirs in times else None

    def share(self, contender: str) -> Ratio | None:
        """What a decode reads per second, divided by the memory's speed, round by round.

        Returns:
            median, least and most; None where the contender or the memory was not measured.
        """
        times = self.jobs[DECODE]
        if contender not in times or DOT not in times:
            return None
        shares = [
            (N_DECODE * self.token_bytes / decode_s) / (DOT_BYTES / dot_s)
            for decode_s, dot_s in zip(times[contender].seconds, times[DOT].seconds, strict=True)
        ]
        return statistics.median(shares), min(shares), max(shares)


#: Name in SUBJECTS -> what was measured, in the order of SUBJECTS.
Results = dict[str, Measured]


def read_results() -> Results:
    """What the last runs wrote; empty where nothing was measured. Unknown names are dropped."""
    if not RESULTS.exists():
        return {}
    stored = json.loads(RESULTS.read_text("utf-8"))
    return {name: _measured(stored[name]) for name in SUBJECTS if name in stored}


def write_results(results: Results) -> None:
    """Keep the numbers, and put `results` into the order of SUBJECTS."""
    ordered = {name: results[name] for name in SUBJECTS if name in results}
    results.clear()
    results.update(ordered)
    stored = {name: _plain(measured) for name, measured in ordered.items()}
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n", "utf-8")


def _plain(measured: Measured) -> dict[str, object]:
    return {
        "about": measured.about,
        "token_bytes": measured.token_bytes,
        "jobs": {
            job: {
                name: {
                    "seconds": [round(s, 7) for s in timing.seconds],
                    "cpu_seconds": [round(s, 7) for s in timing.cpu_seconds],
                }
                for name, timing in times.items()
            }
            for job, times in measured.jobs.items()
        },
    }


def _measured(plain: dict) -> Measured:
    jobs = {
        job: {
            name: Timing(tuple(timing["seconds"]), tuple(timing["cpu_seconds"]))
            for name, timing in times.items()
        }
        for job, times in plain["jobs"].items()
    }
    return Measured(jobs, plain["token_bytes"], plain["about"])
