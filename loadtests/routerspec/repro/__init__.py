"""The reproduction of a violation: a stand-alone script, and a bug report to paste.

Decides which round reproduces a check's violation and what its script contains. Refuses to judge:
the script counts for itself, by the same rules and with other code.
"""

from __future__ import annotations

import re
from pathlib import Path

from routerspec.checks import REGISTRY
from routerspec.errors import UsageError
from routerspec.judge.judge import judge
from routerspec.records import foreign
from routerspec.records.run import RecordedRun, StartInfo, read_run
from routerspec.repro.report import report_of
from routerspec.repro.script import environment_of, script_of, settings_of
from routerspec.repro.setup import setup_of
from routerspec.repro.table import REPROS
from routerspec.targets import Documented, load_target
from routerspec.verdict import CheckResult, Outcome, Verdict

__all__ = ["REPROS", "write"]


def write(folder: Path, check: str) -> tuple[Path, Path | None]:
    """Write the report and the script of one violation below the run; their paths.

    No script for a check without a round. Raises UsageError for a check that this run has not
    found violated.
    """
    recorded = read_run(folder)
    result = _violated(judge(recorded), check)
    start = _start(recorded, check, result)
    plan, command = setup_of(folder, recorded.info, start)
    script: str | None = None
    if played := REPROS[check].round:
        script = script_of(
            played,
            settings_of(
                played,
                plan,
                start.settings,
                command,
                result.numbers,
                parts=_parts(result),
                instances=recorded.info.instances,
            ),
            title=f"{recorded.info.target} {recorded.info.version}: {check}: {result.summary}",
            promised=REGISTRY[check].promised,
            by=recorded.info.routerspec,
        )
    text = report_of(
        recorded,
        result,
        script=script,
        command=command,
        environment=environment_of(plan, command),
        documented=_documented(recorded.info.target),
    )
    below = ("repro", check.replace("/", "--"))
    report, path = (foreign.file_in(folder, *below, name) for name in ("report.md", "repro.py"))
    try:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(text, encoding="utf-8")
        if script:
            path.write_text(script, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{report.parent} cannot be written: {error.strerror}. Copy the run to a folder of "
            "your own."
        ) from error
    return report, path if script else None


def _violated(verdict: Verdict, check: str) -> CheckResult:
    broken = [c for c in verdict.checks if c.outcome is Outcome.VIOLATED]
    for result in broken:
        if result.id == check:
            return result
    names = ", ".join(c.id for c in broken) or "none"
    raise UsageError(f"{check} is not violated in this run. Violated: {names}.")


def _parts(result: CheckResult) -> frozenset[str]:
    """The parts of rounds that the witness names: in them the scenario played these probes."""
    assert result.witness is not None
    lines = [fact.partition(": ")[2] for fact in result.witness.facts if fact.startswith("start ")]
    parts = (re.sub(r" \([^()]*\)$", "", line).partition(", ")[2] for line in lines)
    return frozenset(filter(None, parts))


def _start(recorded: RecordedRun, check: str, result: CheckResult) -> StartInfo:
    """Of the starts whose scenarios and settings the check reads the one of its witness, else the
    first.
    """
    wanted = REGISTRY[check]
    read = [
        start.info
        for start in recorded.starts
        if set(wanted.scenarios) & set(start.info.scenarios)
        and wanted.reads(start.info, recorded.info.promises)
    ]
    facts = result.witness.facts if result.witness else ()
    for start in read:
        if any(fact.startswith(f"start {start.name}, ") for fact in facts):
            return start
    if read:
        return read[0]
    raise UsageError(f"No start of this run played {', '.join(wanted.scenarios)}.")


def _documented(target: str) -> tuple[Documented, ...]:
    """What the router's documentation promises; nothing where the target file is gone."""
    try:
        return load_target(target).documented
    except UsageError:
        return ()
