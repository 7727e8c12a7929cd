"""The verdict at a path: a run's folder, judged again, or a file that ``--format json`` printed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from routerspec.errors import UsageError
from routerspec.judge import judge, verdict_json
from routerspec.records import foreign
from routerspec.records.run import read_run
from routerspec.verdict import Verdict


def read(path: Path) -> Verdict:
    """The verdict at ``path``. Raises UsageError where there is none."""
    if path.is_dir():
        return judge.judge(read_run(path))
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"There is no {path}: give a run's folder, or a file made with "
            "`routerspec verify ... --format json > FILE`."
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    how = "Make it with `routerspec verify ... --format json > FILE`."
    verdict = foreign.decoded(Verdict, raw, path, wrong="is not a verdict", then=how)
    failures = verdict.smoke_failures
    checks = (
        replace(check, reason=verdict_json.full_reason(check.reason, failures))
        for check in verdict.checks
    )
    return replace(verdict, checks=tuple(checks))
