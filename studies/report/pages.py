"""A report in words: Markdown, and the same as one HTML file that needs no other."""

from __future__ import annotations

import base64
import html
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from studies.report.findings import DEPENDS, FAILS, HOLDS, NOT_DECIDED, Verdict, p_in_words
from studies.report.report import Report
from studies.report.tables import in_words, markdown
from studies.report.what_to_do import what_to_do
from studies.spec.claim import LEVEL

__all__ = ["as_html", "as_markdown", "summary", "without"]

MOST = 20
"""Rows of a table that only supports; the whole stands in its file."""

STATISTICS = f"""\
Pairs are runs that agree in all but what is compared. What a claim does not name (network, size, BN mode) makes its
cells; it is tested in each of them and over all. A difference is one number a seed, or a source network where sides
start from different ones; t tests of those give p, for other seeds and, where each run's answers are kept, for other
test images: then intervals and tests are paired by image. q is p corrected by Benjamini and Hochberg's false discovery
rate, for all claims of this report together, and apart from those for all of their cells. At q ≤ {LEVEL:g} a claim
holds, or fails where the effect is the other way; it depends where some cells hold and others fail; all else is not
decided. Beside it stands the smallest effect that would have been decided here in 4 of 5 cases, and how many seeds
would decide the one that was found. One seed decides nothing, and a run that has not learned its training images is no
rival.
"""
PAPER = """\
The paper's numbers are of its own images and networks: they stand there for which is more, not for how much.
"""
TRANSFER = """\
Runs whose test accuracy is below that of training from scratch on the same images with the same seed; in square
brackets its 95 % interval for other test images.
"""
CHANGE = """\
Spearman's rank correlation of how far a stage has moved and the run's gain over `fc` alike in all else: over all runs,
which mixes strategies and sizes and only describes; and within those that differ in their seed alone. Of that is q:
seeds are permuted in all cells alike, and p corrected for all rows.
"""
STYLE = """\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-size: 14px; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #ddd; padding: .3rem .6rem; text-align: left; vertical-align: top; }
th { border-bottom: 2px solid #888; }
img { max-width: 100%; }
"""


def summary(verdicts: Sequence[Verdict]) -> str:
    """How many claims came out which way: ``9 hold, 2 fail, 1 depends, 15 not decided``."""
    counts = Counter(verdict.verdict for verdict in verdicts)
    words = {
        HOLDS: ("holds", "hold"), FAILS: ("fails", "fail"), DEPENDS: ("depends", "depend"),
        NOT_DECIDED: (NOT_DECIDED, NOT_DECIDED),
    }  # fmt: skip
    return ", ".join(f"{counts[key]} {one if counts[key] == 1 else many}" for key, (one, many) in words.items())


def as_markdown(report: Report, to: Path) -> str:
    """The report; its figures are named by their place beneath ``to``."""
    study = report.study
    parts = [f"# {study.name}" + (f": {study.title}" if study.title else "")]
    if report.advice is not None:
        parts += [*what_to_do(report.advice, report.out, to), "## How it was found"]
    parts += [*_opening(report)]
    if report.verdicts:
        parts += ["## Claims", summary(report.verdicts) + ".", *_claims(report, to), STATISTICS.strip()]
    beside = any(table.cells["theirs"].notna().any() for table in report.tables)
    if report.tables:
        parts += [
            "## Tables",
            *([PAPER.strip()] if beside else []),
            *(in_words(table).strip() for table in report.tables),
        ]
    if report.figures or report.missing:
        parts += ["## Figures", *_figures(report, to)]
    if len(report.change) and report.advice is None:
        parts += ["## Change and gain", CHANGE.strip(), *_change(report.change)]
    if len(report.transfer):
        parts += ["## Negative transfer", TRANSFER.strip(), *_transfer(report.transfer)]
    return "\n\n".join(parts) + "\n"


def as_html(text: str, to: Path) -> str:
    """The Markdown as one HTML file; the figures beneath ``to`` that it names are put inside."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    title = html.escape(text.partition("\n")[0].removeprefix("# "))

    def inside(match: re.Match[str]) -> str:
        return f'src="data:image/png;base64,{base64.b64encode((to / html.unescape(match[1])).read_bytes()).decode()}"'

    body = re.sub(r'src="(figures/[^"]+\.png)"', inside, body)
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{body}</body></html>\n'


def _opening(report: Report) -> Iterator[str]:
    study, table = report.study, report.observations
    runs = table[table["measure"] == "accuracy"]
    if study.source and report.advice is None:
        yield f"After {study.source}."
    facts = {
        "networks": _several(runs["model"]), "from": _several(runs["source"]), "images": _several(runs["dataset"]),
        "training images": _several(runs["n_train"].sort_values()), "conditions": _several(runs["condition"]),
        "seeds": _several(runs["seed"].sort_values()), "runs": str(len(runs)),
    }  # fmt: skip
    yield "\n".join(f"- {name}: {value}" for name, value in facts.items() if value)
    notes = [f"{without(report)}."] if report.left_out else []
    notes += [note[:1].upper() + note[1:] + ("" if note.endswith(".") else ".") for note in report.notes]
    if notes:
        yield "\n".join(f"- **Note**: {note}" for note in notes)


def without(report: Report, most: int = 10) -> str:
    """Which runs are not finished, and why; the first of them by name."""
    left, of = report.unfinished
    told = [f"{run} ({why})" for run, why in report.left_out.items()]
    more = f" and {len(told) - most} more" if len(told) > most else ""
    return f"{left} of {of} runs are not finished, and nothing here is of them: {', '.join(told[:most])}{more}"


def _several(values: pd.Series) -> str:
    return ", ".join(str(value) for value in dict.fromkeys(values.tolist()) if value != "")


def _claims(report: Report, to: Path) -> Iterator[str]:
    for question in dict.fromkeys(verdict.claim.question for verdict in report.verdicts):
        verdicts = [verdict for verdict in report.verdicts if verdict.claim.question == question]
        if question:
            yield f"### Question {question}" if question.isdecimal() else f"### {question}"
        yield _table([
            {
                "claim": verdict.claim.text, "where": verdict.claim.where, "verdict": f"**{verdict.verdict}**",
                "found": verdict.in_words, "95 %": _interval(verdict), "of": _drawn(verdict),
                "q": p_in_words(verdict.q), "would decide": _power(verdict),
            }
            for verdict in verdicts
        ])  # fmt: skip
        told = [
            f"- **{v.claim.name}**: {'. '.join(map(_sentence, lines))}." for v in verdicts if (lines := [*_more_of(v)])
        ]
        if told:
            yield "\n".join(told)
        if question in report.shown:
            named = re.sub(r"([\[\]\\])", r"\\\1", question) or "claims"
            yield f"![{named}]({report.shown[question].relative_to(to).as_posix()})"


def _sentence(line: str) -> str:
    return line[:1].upper() + line[1:]


def _interval(verdict: Verdict) -> str:
    if math.isnan(verdict.low):
        return ""
    low, high = (verdict.spelled(end).removesuffix(" points") for end in (verdict.low, verdict.high))
    return f"{low} to {high}"


def _drawn(verdict: Verdict) -> str:
    units = f"{verdict.sources} pairs of sources" if verdict.sources else f"{verdict.seeds} seeds"
    return f"{units}, {verdict.images} images" if verdict.images else units


def _power(verdict: Verdict) -> str:
    """What would have been decided, and of what is not, with how many units."""
    if math.isnan(verdict.smallest):
        return ""
    found = verdict.spelled(verdict.smallest, sign=False)
    if verdict.verdict == NOT_DECIDED:
        units = "sources" if verdict.sources else "seeds"
        found += f", or {verdict.needed or 'over 1000'} {units}"
    return found


def _more_of(verdict: Verdict) -> Iterator[str]:
    """What else is to be said of a claim, a line each."""
    if verdict.cells:
        along = verdict.differ.replace("_", " ")
        apart = f"; cells differ with {along} (q {_at(verdict.differ_q)})" if verdict.differ_q <= LEVEL else ""
        yield verdict.in_cells + apart
    if verdict.verdict == NOT_DECIDED and verdict.pairs and verdict.reason:
        yield verdict.reason
    if not math.isnan(verdict.mcnemar):
        yield f"on these very runs and images, McNemar's p {_at(verdict.mcnemar)}"
    yield from verdict.notes


def _at(p: float) -> str:
    words = p_in_words(p)
    return words if words.startswith("<") else f"= {words}"


def _figures(report: Report, to: Path) -> Iterator[str]:
    for figure in report.study.figures:
        files = report.figures.get(figure.name)
        if files is None:
            yield f"**{figure.name}** could not be drawn: {report.missing[figure.name]}."
            continue
        yield f"**{figure.name}**" + (f": {figure.title}" if figure.title else "")
        yield from (f"![{figure.name}]({file.relative_to(to).as_posix()})" for file in files)


def _change(table: pd.DataFrame) -> Iterator[str]:
    known = table[table["rho"].notna()].sort_values("p", kind="stable")
    rows = [
        {"network": r["model"], "layers": r["layers"], "stage": r["stage"], "runs": str(r["n"]),
         "over all": f"{r['rho']:+.2f}",
         "within": "" if r["within"] != r["within"] else f"{r['within']:+.2f}", "q": p_in_words(r["p_adjusted"])}
        for r in known.head(MOST).to_dict("records")
    ]  # fmt: skip
    yield _table(rows) if rows else "Nothing to correlate: neither change nor gain varies."
    yield from _more(known, "change_and_gain.csv")


def _transfer(table: pd.DataFrame) -> Iterator[str]:
    beyond = int(table["beyond_sampling"].eq(True).sum())
    yield f"{len(table)} runs lost against scratch, {beyond} of them by more than so few test images explain."
    yield _table([
        {"run": "/".join(filter(None, (r["condition"], r["run"]))), "accuracy": _accuracy(r),
         "scratch": f"{100 * r['scratch']:.1f}", "points lost": f"{100 * r['lost']:.1f}"}
        for r in table.head(MOST).to_dict("records")
    ])  # fmt: skip
    yield from _more(table, "negative_transfer.csv")


def _accuracy(row: dict[str, Any]) -> str:
    interval = "" if row["low"] != row["low"] else f" [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
    return f"{100 * row['accuracy']:.1f}{interval}"


def _more(table: pd.DataFrame, file: str) -> Iterator[str]:
    if len(table) > MOST:
        yield f"The first {MOST} of {len(table)}; all are in {file}."


def _table(rows: Sequence[dict[str, Any]]) -> str:
    return markdown([rows[0], ["---"] * len(rows[0]), *(map(str, row.values()) for row in rows)])
