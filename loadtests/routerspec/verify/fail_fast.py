"""``--fail-fast``: a run ends when the starts that are over already violate a ``must``."""

from __future__ import annotations

import threading

from routerspec.errors import RouterspecError
from routerspec.judge import judge
from routerspec.records.run import read_run
from routerspec.verdict import Kind, Outcome
from routerspec.verify.start_run import Run


class FailFast:
    """Judges the starts that are over, from their closed files."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = threading.Lock()

    def judge_so_far(self) -> None:
        """Stop the other starts where a ``must`` is violated that is not known to be."""
        run = self._run
        with self._lock:
            if run.cancelled.is_set():
                return
            try:
                verdict = judge.judge(read_run(run.folder.path, only=tuple(run.over)))
            except RouterspecError:  # The whole run is judged in the end, and says so.
                return
            for check in verdict.checks:
                must = check.kind is Kind.MUST and not check.known
                if must and check.outcome is Outcome.VIOLATED:
                    run.progress.say(f"stopped by --fail-fast: {check.id} is violated")
                    run.failed_fast = True
                    run.cancelled.set()
                    run.schedule.cancel()
                    return
