"""The doctor's table: no counter is trusted that is wrong."""

from __future__ import annotations

import platform
import re

import pytest

from llama_edu.pages.doctor import Finding, Report, examine


@pytest.mark.skipif(platform.system() != "Linux", reason="only Linux lets one measure")
def test_the_doctor_trusts_no_counter_that_is_wrong(tmp_path):
    report = examine(tmp_path, n_pages=1031)
    touched = [n for _, n in report.touched]
    assert touched == [51, 1031, 52]
    findings = {f.counter: f for f in report.findings}
    for finding in report.findings:
        assert (list(finding.reported) == touched) == (finding.verdict == "trusted")
        assert (finding.verdict == "refused") == (not finding.reported)
        assert finding.why
    assert findings["minor faults (getrusage)"].verdict == "under-counts"
    assert findings["mincore"].verdict in ("over-counts", "refused")
    for backend in ("uffd", "one-page"):
        assert findings[f"lab: {backend}"].verdict in ("trusted", "refused")
    heads, *rows = str(report).splitlines()[1:]
    assert heads.split()[:2] == ["counter", "verdict"]
    assert any(re.search(r" trusted  .* right every time$", row) for row in rows)
    assert not list(tmp_path.iterdir())


def test_two_verdicts_on_one_name_are_explained_where_they_stand():
    alone = Finding("mincore", (9,), "over-counts", "counts the cache")
    lab = Finding("lab: mincore", (3,), "trusted", "right every time")
    both = str(Report(9, (("scattered", 3),), (alone, lab)))
    assert "the call is the same, but the lab evicts the file first" in both
    for findings in ((alone,), (lab,), (alone, Finding("lab: mincore", (), "refused", "no"))):
        assert "the call is the same" not in str(Report(9, (("scattered", 3),), findings))
