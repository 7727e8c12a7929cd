"""Published results as Markdown: one router's page, and all of them side by side. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from routerspec.checks import REGISTRY
from routerspec.markup.markdown import address, code, fenced, inline, link, paragraph
from routerspec.markup.tables import Cell, Column, Span, Table
from routerspec.publish.claims import stated
from routerspec.publish.conformance import conformance, levels, spec_of
from routerspec.publish.rules import Background, Finding, Published, findings, standing
from routerspec.publish.rules import version_word as short_version
from routerspec.records.run import RunInfo
from routerspec.verdict import CheckResult, Kind, Outcome, Standing, Verdict

_ISSUE: Final = re.compile(
    r"https?://[^/]+/([^/]+/[^/]+)/(?:-/)?(?:issues|pull|merge_requests)/(\d+)"
)
_COSTS: Final = (
    ("whole answer", "overhead/latency"),
    ("time to first token", "overhead/first-token"),
    ("inter-token latency", "overhead/gaps"),
)
_IN_WORDS: Final = {3: "Three", 4: "Four", 5: "Five", 6: "Six"}


def report(result: Published, background: Background) -> str:
    """The page of one router and version."""
    info, found = result.infos[0], findings(result.verdicts)
    parts = [
        f"# {inline(f'{info.target} {short_version(info.version)}')}",
        _headline(result, found),
        *_promised(info, background),
        *_broken(found),
        "## Every check",
        _checks(found, len(result.verdicts)),
        *_costs(result.verdicts[0]),
        "## Reproduce",
        _reproduce(result, background),
    ]
    return "\n\n".join(parts) + "\n"


def matrix(results: Sequence[Published]) -> str:
    """All routers and all checks, and what each router costs."""
    if not results:
        return _HEAD + "Nothing is published yet.\n"
    found = [{f.result.id: f for f in findings(each.verdicts)} for each in results]
    ids = [id_ for id_ in REGISTRY if any(id_ in each for each in found)]
    rows: list[list[Cell]] = [["outcome"]]
    rows[0] += [Span(standing(tuple(each.values())).value, bold=True) for each in found]
    rows.append(["held", *(conformance(tuple(each.values())).words for each in found)])
    for id_ in ids:
        if REGISTRY[id_].kind is not Kind.OBSERVE:
            cells = [_cell(each[id_]) if id_ in each else "" for each in found]
            rows.append([Span(id_, code=True), *cells])
    outcomes = Table([Column("check"), *(Column(_link(each)) for each in results)], rows)
    columns = [Column("router"), *(Column(f"{figure}, ms") for figure, _ in _COSTS)]
    costs = Table(columns, [[_link(each), *_medians(each.verdicts)] for each in results])
    parts = [_HEAD + _LEGEND, outcomes.markdown(), "## Added latency", _ADDED, costs.markdown()]
    return "\n\n".join(parts) + "\n"


_HEAD: Final = """# reports: published results

One folder for each router and version: its verdict and the history it was judged from, so that
anybody can judge it again with `routerspec judge`. Written by `routerspec publish`; there is no
code here.

"""
_LEGEND: Final = (
    "Every result was found in at least three runs. **violated**: proved, with its witness on the "
    "router's page. known: violated, and known to the router's maintainers. discouraged: a "
    "recommendation that is not met. `?`: inconclusive. Empty: not promised, or not applicable."
)
_ADDED: Final = (
    "Median added latency (via the router minus direct), its range over the runs, on the slowest "
    "route. Runs of different routers were not made at the same time: `routerspec bench` measures "
    "routers side by side."
)


def _link(result: Published) -> Span:
    info = result.infos[0]
    title = f"{info.target} {short_version(info.version)}"
    return Span(title, link=f"{result.place}/README.md")


def _headline(result: Published, found: Sequence[Finding]) -> str:
    runs = len(result.verdicts)
    many = _IN_WORDS.get(runs, str(runs))
    counts: dict[str, int] = {}
    for finding in found:
        counts[_word(finding.result)] = counts.get(_word(finding.result), 0) + 1
    counted = ", ".join(f"{count} {word}" for word, count in counts.items())
    unlike = [code(finding.result.id) for finding in found if not finding.unanimous]
    agreed = f"differing in {', '.join(unlike)}" if unlike else "all with the same results"
    total = standing(found)
    word = "no check held" if total is Standing.NOT_APPLICABLE else total.value
    return (
        f"**{word}**: {conformance(found).words} checks that apply held ({counted}). Spec "
        f"{inline(spec_of(result))}. {many} runs, {agreed}.{_levels(found)}"
    )


def _levels(found: Sequence[Finding]) -> str:
    """What each level came to; nothing where there is but one."""
    its = levels(found)
    if len(its) < 2:
        return ""
    return "\n\n" + ", ".join(f"{each.level}: {each.words} held" for each in its) + "."


def _promised(info: RunInfo, background: Background) -> list[str]:
    lines = [f"- {code(name)}: {inline(text)}" for name, text in stated(info.promises)]
    for promise, words, source in background.documented:
        quoted = f"\u201c{inline(words)}\u201d ({link('source', source)})"
        lines.append(f"- {code(promise)}, in its documentation: {quoted}")
    return ["## Promised", "\n".join(lines) or "Neither a cap nor a cached model list."]


def _broken(found: Sequence[Finding]) -> list[str]:
    parts = []
    for finding in found:
        result = finding.result
        if result.outcome is Outcome.VIOLATED:
            parts.append(f"### {inline(result.id)}: {_word(result)}")
            parts.append(_violation(result))
    return ["## Violated", *parts] if parts else []


def _violation(result: CheckResult) -> str:
    lines = [f"Required: {REGISTRY[result.id].promised}", ""] if result.id in REGISTRY else []
    if result.known:
        lines += [f"Known: {_linked(result.known)}", ""]
    if result.witness is not None:
        lines += [paragraph(result.witness.sentence), ""]
        lines += [f"- {paragraph(fact)}" for fact in result.witness.facts]
    return "\n".join(lines).rstrip()


def _linked(known: str) -> str:
    span = issue(known)
    return link(span.text, span.link) if span.link else inline(span.text)


def issue(known: str) -> Span:
    """A link; one to an issue tracker is called by the issue's number."""
    if not known.startswith("http"):
        return Span(known)
    found = _ISSUE.match(known)
    return Span(f"{found[1]}#{found[2]}" if found else known, link=known)


def _checks(found: Sequence[Finding], runs: int) -> str:
    rows: list[list[Cell]] = [
        [
            Span(finding.result.id, code=True),
            Span(_word(finding.result), bold=_is_red(finding.result)),
            _agreement(finding, runs),
            finding.result.reason or finding.result.summary,
        ]
        for finding in found
    ]
    columns = [Column("check"), Column("outcome"), Column("runs"), Column()]
    return Table(columns, rows).markdown()


def _agreement(finding: Finding, runs: int) -> str:
    """``3 of 3``, or ``1 of 3, 2 held``."""
    own = finding.result.outcome
    others = [f"{count} {outcome}" for outcome, count in finding.counts.items() if outcome != own]
    return ", ".join([f"{finding.counts[own]} of {runs}", *others])


def _costs(verdict: Verdict) -> list[str]:
    rows = []
    for figure, id_ in _COSTS:
        numbers = _numbers(verdict, id_)
        cells = [key.removesuffix(" samples") for key in numbers if key.endswith(" samples")]
        rows += [
            [figure, cell, *(_ms(numbers.get(f"{cell} added p{q}_ms")) for q in (50, 95, 99))]
            for cell in cells
        ]
    if not rows:
        return []
    stalled = max(_numbers(verdict, id_).get("stalled_ms", 0) for _, id_ in _COSTS)
    columns = [Column(), *map(Column, ("route", "p50", "p95", "p99"))]
    return [
        "## Added latency",
        "Milliseconds, via the router minus direct; requests of both kinds alternated in the first "
        f"run. The longest self-reported stall of the harness meanwhile was {stalled} ms.",
        Table(columns, rows).markdown(),
    ]


def _medians(verdicts: Sequence[Verdict]) -> list[str]:
    cells = []
    for _, id_ in _COSTS:
        seen = []
        for verdict in verdicts:
            numbers = _numbers(verdict, id_)
            added = [value for key, value in numbers.items() if key.endswith(" added p50_ms")]
            seen += [max(added)] if added else []
        cells.append(f"{min(seen):+.2f} to {max(seen):+.2f}" if seen else "")
    return cells


def _numbers(verdict: Verdict, id_: str) -> dict[str, int | float]:
    return next((dict(check.numbers) for check in verdict.checks if check.id == id_), {})


def _reproduce(result: Published, background: Background) -> str:
    info = result.infos[0]
    lines = [f"# {background.install}"] if background.install else []
    lines += [_command(each) for each in result.infos]
    lines += [f"routerspec judge reports/{result.place}   # judges the first run again"]
    lines += [
        f"routerspec repro reports/{result.place} {check.id}   # writes a reproduction"
        for check in result.verdicts[0].checks
        if check.outcome is Outcome.VIOLATED and check.id in background.scripted
    ]
    facts = [f"{info.target}: {info.version}", f"routerspec {info.routerspec}"]
    facts += [f"run {each.run}, {each.started_at}, seed {each.seed}" for each in result.infos]
    listed = [f"- {paragraph(fact)}" for fact in facts]
    listed[2:2] = [f"- {address(background.homepage)}"] if background.homepage else []
    script = fenced("\n".join(" ".join(line.split()) for line in lines), "sh")
    return "\n".join([script, "", *listed])


def _command(info: RunInfo) -> str:
    seed = f"--seed {info.seed}"
    return info.command if "--seed" in info.command else f"{info.command} {seed}"


def _word(result: CheckResult) -> str:
    if result.kind is Kind.OBSERVE and result.outcome is Outcome.HELD:
        return "observed"
    if result.outcome is not Outcome.VIOLATED:
        return result.outcome.value
    if result.known:
        return "violated (known)"
    return "discouraged" if result.kind is Kind.SHOULD else "violated"


def _is_red(result: CheckResult) -> bool:
    return result.standing is Standing.VIOLATED


def _cell(finding: Finding) -> Cell:
    result = finding.result
    if result.outcome is Outcome.VIOLATED and result.known:
        return ["known:", issue(result.known)]
    word = _word(result)
    short = {"inconclusive": "?", "not applicable": ""}.get(word, word)
    return Span(short, bold=_is_red(result))


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"
