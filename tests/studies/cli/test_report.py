"""What ``wdiv report`` prints beside a verdict."""

from __future__ import annotations

from studies.cli.report import _reason
from studies.report.verdicts import judge
from tests.studies.observed import claim, row, table


def test_beside_a_verdict_stands_what_is_not_said_yet() -> None:
    rows = table(
        row(0.5 + (0.1 if mode == "batch" else -0.1) * (name == "bn+fc") + seed / 1000 * (name == "fc"),
            strategy=name, bn_mode=mode, seed=seed)
        for mode in ("batch", "frozen") for name in ("bn+fc", "fc") for seed in range(4)
    )  # fmt: skip
    depends, missing = judge([claim(), claim(name="none", left={"strategy": "svm"})], rows)
    assert _reason(depends) == "holds with batch statistics; fails with frozen statistics"
    assert (_reason(missing), missing.in_words) == ("", missing.reason)
    (alone,) = judge([claim()], rows[rows["seed"].eq(0)])
    assert _reason(alone) == "one seed; a verdict needs two or more"
