"""A Locust worker: makes requests for the run that its master leads.

Decides how Locust's worker starts, stops and leaves. It leaves with 0 unless it failed itself: the
verdict is the master's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import gevent
from locust.env import Environment

from routerspec.errors import UsageError
from routerspec.plan.load_keys import opened
from routerspec.records.load_plan import LoadPlan
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.load_process import LoadProcess
from routerspec.scenarios.engine.messages import Link
from routerspec.scenarios.load import mixed_request
from routerspec.scenarios.locust import web_tab
from routerspec.scrub import SECRETS, filled
from routerspec.targets.sealing import key_from

_FAILED: Final = 4


class Worker:
    """One test of a worker, from its start to its stop."""

    def __init__(
        self, environment: Environment, link: Link, report: Callable[[Exchange, str], None]
    ) -> None:
        options = environment.parsed_options
        self._environment = environment
        self._process = LoadProcess(
            link,
            Path(options.rs_runs).parent / "workers",
            report,
            opened=lambda plan: with_own_keys(plan, options.rs_key, options.rs_target),
            mixed=lambda session, its: mixed_request(session, its.round, paced=its.paced),
            stop_users=self._stop_users,
            fail=self._fail,
        )

    def next_job(self) -> Callable[[], None]:
        """What a user does next."""
        return self._process.next_job()

    def stopping(self) -> None:
        """Nothing to prepare: its users stop by themselves."""

    def stop(self) -> None:
        """The users have stopped."""
        self._process.stop()

    def await_ended(self) -> None:
        """Its file is awaited when it quits, or is asked for its next part."""
        self._process.await_sent()

    def quitting(self) -> None:
        """Locust ends this process, and has not told its master yet."""
        runner = self._environment.runner
        runner.stop()
        if len(runner.greenlet):  # else the master is gone, and whoever would hear of it
            self._process.await_sent()
        if (file := self._process.file) is not None and file.exists():
            print(  # noqa: T201
                f"routerspec: the master does not have all of {file.absolute()}: it is kept.",
                file=sys.stderr,
            )
        if self._environment.process_exit_code is None:
            self._environment.process_exit_code = 0

    def rows(self) -> list[web_tab.Row]:
        """Nothing to show: the master does."""
        return []

    def section(self) -> str:
        """Nothing to report."""
        return ""

    def _stop_users(self) -> None:
        self._environment.runner.stop()
        # Locust's worker sleeps for so long after a stop, and reads no message meanwhile.
        self._environment.stop_timeout = 0.0

    def _fail(self, sentence: str) -> None:
        print(f"routerspec: {sentence}", file=sys.stderr)  # noqa: T201
        self._environment.process_exit_code = _FAILED
        gevent.spawn(self._environment.runner.quit)


def with_own_keys(plan: LoadPlan, key: str = "", target: str = "") -> LoadPlan:
    """The plan with the keys of this process: none is sent to it.

    ``key``: its own ``--rs-key``. ``target``: its target file, which may not be there. Raises
    UsageError for a key that it lacks.
    """
    own = key_from(key, None, "--rs-key")
    if plan.references and target and Path(target).exists():
        from routerspec.targets import load_target  # noqa: PLC0415 - with numpy, for which the master waits

        load_target(target)
    given = SECRETS.named()
    for name in plan.references:
        if name not in given:
            value = os.environ.get(name, "").strip() or filled(own, given)
            if not value:
                raise UsageError(
                    "A worker gets no key from its master: pass --rs-key to it as well, or "
                    f"`export {name}=...`."
                )
            given[name] = value
            SECRETS.add(name, value)
    return opened(plan, {}, given)
