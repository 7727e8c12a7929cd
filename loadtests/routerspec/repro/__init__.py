"""A violation as somebody else can see it: a script that needs nothing, and a report to paste.

Decides which show a check is shown by, and what is written into the script. Refuses to judge:
the script counts again for itself, by the same rules and with other code.
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from routerspec.checks import REGISTRY
from routerspec.errors import UsageError
from routerspec.judge import judge
from routerspec.load_plan import LoadPlan, read_plan
from routerspec.run import PATIENT_S, RecordedRun, RouterWords, StartInfo, read_run
from routerspec.verdict import CheckResult, Outcome, Verdict

_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """How a check's violation is shown."""

    file: str
    """The module of ``shows``."""
    how: str = ""
    mode: str = ""
    """The mode that it needs; empty: any."""
    together: bool = False


_ENDINGS: Final = {
    "error": "",
    "reset": "",
    "timeout": "",
    "malformed": "",
    "cut": "stream",
    "hang-up-before-head": "stream",
    "hang-up-mid-stream": "stream",
    "hang-up-non-streaming": "chat",
}
"""How a request ends badly -> the mode that it takes."""

SHOWS: Final = {
    "cap/each-route": Show(file="held"),
    "cap/burst": Show(file="held"),
    "cap/over-time": Show(file="held", how="long"),
    "cap/under-load": Show(file="held", how="first", together=True),
    "cap/across-routes": Show(file="held", together=True),
    "cap/streams": Show(file="held", how="first", mode="stream"),
    "cap/after-failures": Show(file="held", how="failures"),
    "cap/hang-ups": Show(file="hang_ups", mode="chat"),
    "slots/reached": Show(file="reached"),
    **{
        f"slots/return-after-{how}": Show(file="after_ending", how=how, mode=mode)
        for how, mode in _ENDINGS.items()
    },
    "models/one-fetch-cold": Show(file="one_fetch", how="cold"),
    "models/one-fetch-uncapped": Show(file="one_fetch", how="cold"),
    "models/one-fetch-on-expiry": Show(file="one_fetch", how="expiry"),
    "models/cached": Show(file="cached"),
    "models/ttl-from-receipt": Show(file="slow_list"),
    "models/not-behind-cap": Show(file="behind_cap"),
    "answers/cut-is-no-success": Show(file="cut", mode="stream"),
    "answers/attempts": Show(file="attempts"),
    "cancel/reaches-provider": Show(file="hang_up"),
}
"""Check -> how it is shown. A check that is not here has a report and no script."""


def write(folder: Path, check: str) -> tuple[Path, Path | None]:
    """Write the report and the script of one violation below the run; where they are.

    No script where there is no show for the check. Raises UsageError for a check that the run
    has not found violated.
    """
    recorded = read_run(folder)
    verdict = judge(recorded)
    result = _violated(verdict, check)
    out = folder / "repro" / check.replace("/", "--")
    out.mkdir(parents=True, exist_ok=True)
    script = _script(folder, recorded, result)
    path = out / "repro.py"
    if script:
        path.write_text(script, encoding="utf-8")
    report = out / "report.md"
    report.write_text(_report(recorded, result, script is not None), encoding="utf-8")
    return report, path if script else None


def _violated(verdict: Verdict, check: str) -> CheckResult:
    broken = [c for c in verdict.checks if c.outcome is Outcome.VIOLATED]
    for result in broken:
        if result.id == check:
            return result
    names = ", ".join(c.id for c in broken) or "none"
    raise UsageError(f"This run has not found {check} violated. Violated in it: {names}.")


def _script(folder: Path, recorded: RecordedRun, result: CheckResult) -> str | None:
    show = SHOWS.get(result.id)
    if show is None:
        return None
    start = _start(recorded, result.id)
    below = folder / "starts" / start.name
    told = _told(start, read_plan(below / "plan.json"), _words(below), show, result)
    title = f"{recorded.info.target} {recorded.info.version}: {result.id}"
    return "\n".join(
        (
            "#!/usr/bin/env python3",
            f'"""{title}: {result.summary}.',
            "",
            f"Written by routerspec {recorded.info.routerspec}. Needs Python 3.11 and the router;",
            "ends with status 1 when the violation was seen again, with 0 when it was not, and",
            "with 2 when it could not be tried.",
            '"""',
            "",
            "from __future__ import annotations",
            "",
            _code(_HERE / "kit.py"),
            _code(_HERE / "shows" / f"{show.file}.py"),
            "TOLD = json.loads(",
            f"    r'''{json.dumps(told, indent=1)}'''",
            ")",
            "",
            'if __name__ == "__main__":',
            "    with Lab(TOLD) as lab:",
            "        seen = show(lab)",
            '    say("SEEN AGAIN: the promise is broken." if seen else "Not seen this time.")',
            "    sys.exit(int(seen))",
            "",
        )
    )


def _start(recorded: RecordedRun, check: str) -> StartInfo:
    """The first start that played what the check reads, with the settings that it wants."""
    wanted = REGISTRY[check]
    for start in recorded.starts:
        if set(wanted.scenarios) & set(start.info.scenarios) and wanted.reads(
            start.info, recorded.info.promises
        ):
            return start.info
    raise UsageError(f"No start of this run played {', '.join(wanted.scenarios)}.")


def _words(folder: Path) -> RouterWords | None:
    path = folder / "router.json"
    return msgspec.json.decode(path.read_bytes(), type=RouterWords) if path.exists() else None


def _told(
    start: StartInfo, plan: LoadPlan, words: RouterWords | None, show: Show, result: CheckResult
) -> dict[str, Any]:
    promises = plan.promises
    return {
        "start": None if words is None else msgspec.to_builtins(words),
        "url": "" if words else "http://127.0.0.1:8080",
        "ports": [0, 0] if words else [8001, 11434],
        "headers": plan.headers,
        "list_path": plan.list_path,
        "cap": start.settings.cap or (promises.cap.limit if promises.cap else 4),
        "ttl_s": promises.model_list.ttl_s if promises.model_list else 1.0,
        "within_s": promises.cancel.within_s if promises.cancel else 1.0,
        "recovery_s": promises.recovery_s,
        "retries": promises.retries.max if promises.retries else 0,
        "timeout_s": min(start.settings.timeout_s, PATIENT_S),
        "how": show.how,
        "mode": show.mode,
        "together": show.together,
        "cells": _cells(plan, show, result),
    }


def _cells(plan: LoadPlan, show: Show, result: CheckResult) -> list[Any]:
    """The routes and modes to show it on: those that the verdict counted highest, or all."""
    every = [
        (route, mode)
        for route in plan.routes
        for mode in route.modes
        if show.mode in ("", mode) or show.file == "after_ending"
    ]
    most = max((v for k, v in result.numbers.items() if ":" in k), default=0)
    worst = [
        (route, mode)
        for route, mode in every
        if result.numbers.get(f"{route.name}:{mode}", 0) == most
    ]
    first = [cell for cell in every if cell[1] in ("chat", "stream")] or every
    chosen = first if show.together or not most else worst or first
    return [[msgspec.to_builtins(route), mode] for route, mode in chosen]


def _code(path: Path) -> str:
    """A module without its docstring, its future import, and what it takes from the kit."""

    def is_dropped(index: int, node: ast.stmt) -> bool:
        if isinstance(node, ast.ImportFrom):
            return node.module == "__future__" or (node.module or "").startswith("routerspec")
        return index == 0 and isinstance(node, ast.Expr)

    source = path.read_text(encoding="utf-8")
    lines = source.splitlines()
    drop: set[int] = set()
    for index, node in enumerate(ast.parse(source).body):
        if is_dropped(index, node):
            drop.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    kept = [line for number, line in enumerate(lines, start=1) if number not in drop]
    return "\n".join(kept).strip() + "\n\n"


def _report(recorded: RecordedRun, result: CheckResult, script: bool) -> str:
    check, info = REGISTRY[result.id], recorded.info
    assert result.witness is not None
    facts = "\n".join(f"- {fact}" for fact in result.witness.facts)
    again = f"`routerspec verify {info.target} --only {result.id} --seed {info.seed}`"
    if script:
        again = "`python repro.py`: standard library alone, ends with status 1 when it is seen."
    return f"""# {info.target} {info.version}: {result.summary}

**Promised.** {check.promised}

**Seen.** {result.witness.sentence}

{facts}

**How it is proved.** {check.proved}

**To see it again.** {again}

**Versions.** {info.target} {info.version}; routerspec {info.routerspec}; run of {info.started_at}:
`{info.command}`, seed {info.seed}.

**How routers get it right.** {check.fix}
"""
