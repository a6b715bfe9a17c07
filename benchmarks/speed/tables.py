"""Tables of what was measured, as Markdown."""

from __future__ import annotations

from benchmarks.speed.contenders import DOT, DOT_BYTES, FLASH, LLAMA_CPP, OURS
from benchmarks.speed.results import DECODE, N_TOKENS, PREFILL, Measured, Results
from benchmarks.speed.subjects import SUBJECTS
from benchmarks.timing import Ratio, show_ratio, table


def file_table(measured: Measured) -> str:
    """One row per job and contender, with our ratios to those that are not ours."""
    ran = [ours for ours in OURS if ours in measured.jobs[DECODE]]
    rows = []
    for job in (PREFILL, DECODE):
        for name, timing in measured.jobs[job].items():
            if name == DOT:
                rate = f"{DOT_BYTES / timing.median_s / 1e9:.1f} GB/s"
                rows.append((job, name, rate, "", "1", *("" for _ in ran)))
                continue
            n_tokens = N_TOKENS[job]
            rows.append((
                job, name, f"{n_tokens / timing.median_s:.1f}",
                f"{1e3 * timing.median_cpu_s / n_tokens:.2f}",
                _shown(measured.share(name)) if job == DECODE else "",
                *("" if name in OURS else _shown(measured.ratio(job, ours, name)) for ours in ran),
            ))  # fmt: skip
    head = ("", "", "tokens/s", "CPU ms per token", "share of the memory's speed",
            *(f"{OURS[ours]} / this" for ours in ran))  # fmt: skip
    return table(head, rows)


def share_table(results: Results) -> str:
    """Files against contenders: the share of the memory's speed that a decode reaches."""
    names = [*OURS, LLAMA_CPP, FLASH]
    rows = [
        (SUBJECTS[key].label, *(_shown(measured.share(name)) for name in names))
        for key, measured in results.items()
    ]
    return table(("", *(OURS.get(name, name) for name in names)), rows)


def ratio_table(results: Results) -> str:
    """Jobs and files against contenders: how many times as fast as llama.cpp with its defaults.

    Returns:
        "" where llama.cpp ran with no file.
    """
    names = [*OURS, FLASH]
    rows = [
        (
            job,
            SUBJECTS[key].label,
            *(_shown(measured.ratio(job, name, LLAMA_CPP)) for name in names),
        )
        for job in (DECODE, PREFILL)
        for key, measured in results.items()
        if LLAMA_CPP in measured.jobs[job]
    ]
    head = ("", "", *(OURS.get(name, name) for name in names))
    return table(head, rows) if rows else ""


def _shown(ratio: Ratio | None) -> str:
    return "" if ratio is None else show_ratio(ratio)
