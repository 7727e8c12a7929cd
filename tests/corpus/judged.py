"""The committed histories, read and judged once a process: their records do not change."""

from __future__ import annotations

from functools import cache

from routerspec.history import history as histories
from routerspec.history.history import History
from routerspec.judge import judge
from routerspec.records.run import RecordedRun, read_run
from routerspec.verdict import Verdict
from tests.corpus.make import HISTORIES


@cache
def recorded(name: str) -> RecordedRun:
    """The run ``name``: ``good/...`` or ``bad/...``, as its folder is called."""
    return read_run(HISTORIES / name)


@cache
def verdict(name: str) -> Verdict:
    """The judge's verdict on it."""
    return judge.judge(recorded(name))


@cache
def history(name: str) -> History:
    """Its history, for what draws one."""
    return histories.build(recorded(name))
