"""Published results as Markdown: one router's page, and all of them side by side. Pure.

Decides wording. Refuses to know what may be published, and files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from routerspec.checks import REGISTRY
from routerspec.publish.rules import Background, Finding, Published, findings, standing
from routerspec.publish.rules import version_word as short_version
from routerspec.records.run import RunInfo
from routerspec.verdict import CheckResult, Kind, Outcome, Standing, Verdict

_ISSUE: Final = re.compile(
    r"https?://[^/]+/([^/]+/[^/]+)/(?:-/)?(?:issues|pull|merge_requests)/(\d+)"
)
_COSTS: Final = (
    ("a whole answer", "overhead/latency"),
    ("the first piece", "overhead/first-token"),
    ("between pieces", "overhead/gaps"),
)
_IN_WORDS: Final = {3: "Three", 4: "Four", 5: "Five", 6: "Six"}


def report(result: Published, background: Background) -> str:
    """The page of one router and version."""
    info, found = result.infos[0], findings(result.verdicts)
    parts = [
        f"# {info.target} {short_version(info.version)}",
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
    head = ["check", *(_link(each) for each in results)]
    rows = [["outcome", *(_bold(standing(tuple(each.values())).value) for each in found)]]
    for id_ in ids:
        if REGISTRY[id_].kind is not Kind.OBSERVE:
            cells = [_cell(each[id_]) if id_ in each else "" for each in found]
            rows.append([f"`{id_}`", *cells])
    parts = [_HEAD + _LEGEND, _table(head, rows), "## What each adds", _ADDED]
    costs = [[_link(each), *_medians(each.verdicts)] for each in results]
    parts.append(_table(["router", *(f"{what}, ms" for what, _ in _COSTS)], costs))
    return "\n\n".join(parts) + "\n"


_HEAD: Final = """# reports: published results

One folder for each router and version: its verdict, and the history that it was judged from, so
that anybody can judge it again with `routerspec judge`. Written by `routerspec publish`; no code
lies here.

"""
_LEGEND: Final = (
    "Every result was found in at least three runs. **violated**: proved, with its witness on the "
    "router's page. known: violated, and its makers know. discouraged: not what a router should "
    "do. `?`: it could not be told. Empty: not promised, or impossible there."
)
_ADDED: Final = (
    "Added at the median, router's way less the straight way in the same run, the range over the "
    "runs; of the route where it was most. Runs of different routers were not made at the same "
    "time: `routerspec bench` puts routers side by side."
)


def _link(result: Published) -> str:
    info = result.infos[0]
    return f"[{info.target} {short_version(info.version)}]({result.place}/README.md)"


def _headline(result: Published, found: Sequence[Finding]) -> str:
    runs = len(result.verdicts)
    many = _IN_WORDS.get(runs, str(runs))
    counts: dict[str, int] = {}
    for finding in found:
        counts[_word(finding.result)] = counts.get(_word(finding.result), 0) + 1
    told = ", ".join(f"{count} {word}" for word, count in counts.items())
    unlike = [finding.result.id for finding in found if not finding.unanimous]
    agreed = f"all of them alike but for {_listed(unlike)}" if unlike else "all of them alike"
    total = standing(found)
    word = "nothing was held" if total is Standing.NOT_APPLICABLE else total.value
    return f"{_bold(word)}: {told}. {many} runs, {agreed}."


def _promised(info: RunInfo, background: Background) -> list[str]:
    lines = []
    made = msgspec.to_builtins(info.promises)
    for name, promise in made.items():
        if isinstance(promise, dict):
            stated = ", ".join(
                f"{key} = {value}" for key, value in promise.items() if value is not None
            )
            lines.append(f"- `{name}`: {stated}")
    lines += [
        f"- `{promise}`, in its documentation: \u201c{_plain(words)}\u201d ([source]({source}))"
        for promise, words, source in background.documented
    ]
    return ["## Promised", "\n".join(lines) or "Nothing in particular."]


def _broken(found: Sequence[Finding]) -> list[str]:
    parts = []
    for finding in found:
        result = finding.result
        if result.outcome is Outcome.VIOLATED:
            parts.append(f"### {result.id}: {_word(result)}")
            parts.append(_violation(result))
    return ["## Violated", *parts] if parts else []


def _violation(result: CheckResult) -> str:
    lines = [f"Must be so: {REGISTRY[result.id].promised}", ""] if result.id in REGISTRY else []
    if result.known:
        lines += [f"Known: {issue(result.known)}", ""]
    if result.witness is not None:
        lines += [result.witness.sentence, ""]
        lines += [f"- {_plain(fact)}" for fact in result.witness.facts]
    return "\n".join(lines).rstrip()


def issue(known: str) -> str:
    """A link that says its number, where it is one of a tracker."""
    found = _ISSUE.match(known)
    if found:
        return f"[{found[1]}#{found[2]}]({known})"
    return f"<{known}>" if known.startswith("http") else known


def _checks(found: Sequence[Finding], runs: int) -> str:
    rows = [
        [
            f"`{finding.result.id}`",
            _bold(_word(finding.result)) if _is_red(finding.result) else _word(finding.result),
            _agreement(finding, runs),
            _plain(finding.result.reason or finding.result.summary),
        ]
        for finding in found
    ]
    return _table(["check", "outcome", "runs", ""], rows)


def _agreement(finding: Finding, runs: int) -> str:
    """``3 of 3``, or what the others found."""
    own = finding.result.outcome
    others = [f"{count} {outcome}" for outcome, count in finding.counts.items() if outcome != own]
    return ", ".join([f"{finding.counts[own]} of {runs}", *others])


def _costs(verdict: Verdict) -> list[str]:
    rows = []
    for what, id_ in _COSTS:
        numbers = _numbers(verdict, id_)
        cells = [key.removesuffix(" samples") for key in numbers if key.endswith(" samples")]
        rows += [
            [what, cell, *(_ms(numbers.get(f"{cell} added p{q}_ms")) for q in (50, 95, 99))]
            for cell in cells
        ]
    if not rows:
        return []
    stalled = max(_numbers(verdict, id_).get("stalled_ms", 0) for _, id_ in _COSTS)
    return [
        "## What it adds",
        "Milliseconds, router's way less the straight way, both ways asked in turn in the first "
        f"run. The harness itself was kept from running for {stalled} ms at the worst meanwhile.",
        _table(["", "route", "p50", "p95", "p99"], rows),
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
    lines += [f"routerspec judge reports/{result.place}   # the first again, from its files alone"]
    lines += [
        f"routerspec repro reports/{result.place} {check.id}   # a script that shows it"
        for check in result.verdicts[0].checks
        if check.outcome is Outcome.VIOLATED and check.id in background.scripted
    ]
    facts = [f"- {info.target}: {info.version}", f"- routerspec {info.routerspec}"]
    facts += [f"- {background.homepage}"] if background.homepage else []
    facts += [f"- run {each.run}, {each.started_at}, seed {each.seed}" for each in result.infos]
    return "\n".join(["```sh", *lines, "```", "", *facts])


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


def _cell(finding: Finding) -> str:
    result = finding.result
    if result.outcome is Outcome.VIOLATED and result.known:
        return f"known: {issue(result.known)}"
    word = _word(result)
    plain = {"inconclusive": "?", "not applicable": ""}.get(word, word)
    return _bold(plain) if _is_red(result) else plain


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _bold(text: str) -> str:
    return f"**{text}**"


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(f"`{id_}`" for id_ in ids)


def _plain(text: str) -> str:
    """Fit for a cell or a line: what came off a wire may hold anything."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)
