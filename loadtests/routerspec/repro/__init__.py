"""A violation as somebody else can see it: a script that needs nothing, and a report to paste.

Decides which show a check is shown by, and what is written into the script. Refuses to judge:
the script counts again for itself, by the same rules and with other code.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from routerspec.checks import REGISTRY
from routerspec.errors import UsageError
from routerspec.judge.judge import judge
from routerspec.records.run import RecordedRun, StartInfo, read_run
from routerspec.repro.asked import asked
from routerspec.repro.report import report_of
from routerspec.repro.script import script_of, told_of
from routerspec.repro.table import SHOWS, Show
from routerspec.targets import Documented, load_target
from routerspec.verdict import CheckResult, Outcome, Verdict

__all__ = ["SHOWS", "Show", "write"]


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
    start = _start(recorded, check)
    plan, words = asked(folder, recorded.info, start)
    script: str | None = None
    if show := SHOWS.get(check):
        told = told_of(show, plan, start.settings, words, result.numbers)
        script = _script(show, told, recorded, result)
    path = out / "repro.py"
    if script:
        path.write_text(script, encoding="utf-8")
    report = out / "report.md"
    text = report_of(
        recorded,
        result,
        script=script,
        words=words,
        documented=_documented(recorded.info.target),
    )
    report.write_text(text, encoding="utf-8")
    return report, path if script else None


def _violated(verdict: Verdict, check: str) -> CheckResult:
    broken = [c for c in verdict.checks if c.outcome is Outcome.VIOLATED]
    for result in broken:
        if result.id == check:
            return result
    names = ", ".join(c.id for c in broken) or "none"
    raise UsageError(f"This run has not found {check} violated. Violated in it: {names}.")


def _script(show: Show, told: Mapping[str, Any], recorded: RecordedRun, result: CheckResult) -> str:
    info = recorded.info
    return script_of(
        show,
        told,
        title=f"{info.target} {info.version}: {result.id}: {result.summary}",
        promised=REGISTRY[result.id].promised,
        by=info.routerspec,
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


def _documented(target: str) -> tuple[Documented, ...]:
    """What the makers of a target say of their promises; of a file that is gone, nothing."""
    try:
        return load_target(target).documented
    except UsageError:
        return ()
