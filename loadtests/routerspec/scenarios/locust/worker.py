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
from routerspec.limits import LIST_CLIENTS
from routerspec.plan import arrivals
from routerspec.plan.load_keys import opened, with_keys
from routerspec.records.load_plan import LoadPlan
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.load_process import LoadProcess
from routerspec.scenarios.engine.messages import Link
from routerspec.scenarios.engine.orders import Deal
from routerspec.scenarios.load import mixed_client, mixed_request
from routerspec.scenarios.locust import web_tab
from routerspec.scenarios.locust.open_loop import OpenLoop
from routerspec.scrub import SECRETS, filled

_FAILED: Final = 4
_PAUSE_S: Final = 0.1


class Worker:
    """One test of a worker, from its start to its stop."""

    def __init__(
        self, environment: Environment, link: Link, report: Callable[[Exchange, str], None]
    ) -> None:
        options = environment.parsed_options
        self._environment = environment
        self._process = LoadProcess(
            link,
            Path(options.rs_plan or options.rs_runs).parent / "workers",
            report,
            opened=self._opened,
            mixed=lambda session, its: mixed_request(session, its.round, paced=its.paced),
            client=mixed_client,
            deal=self._take_share,
            stop_users=self._stop_users,
            fail=self._fail,
        )
        self._pattern = arrivals.Pattern(
            kind=options.rs_arrivals, rate=options.rs_rate, cv=options.rs_burst_cv
        )
        self._seed = options.rs_seed
        self._open_loop: OpenLoop | None = None
        self._greenlets: list[gevent.Greenlet] = []
        if not options.rs_plan:
            # Users make the mixed load, and are busy with it when a stampede is to begin.
            self._greenlets += [gevent.spawn(self._process.work) for _ in range(LIST_CLIENTS)]

    def next_job(self) -> Callable[[], None]:
        """What a user does next."""
        if self._pattern.is_open:
            return self._open_loop.serve if self._open_loop else lambda: gevent.sleep(_PAUSE_S)
        return self._process.next_job()

    def stopping(self) -> None:
        """Locust is about to stop its users: nothing more is due."""
        if self._open_loop:
            self._open_loop.end()
            self._process.report(self._open_loop.arrived)

    def stop(self) -> None:
        """The users have stopped."""
        gevent.killall(self._greenlets)
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

    def _opened(self, plan: LoadPlan) -> LoadPlan:
        """The plan with its keys. Raises UsageError for one that this process lacks."""
        options = self._environment.parsed_options
        if options.rs_plan:  # The harness gave them to the process that this one was forked from.
            return with_keys(plan, os.environ)
        return with_own_keys(plan, options.rs_key, options.rs_target)

    def _take_share(self, deal: Deal) -> None:
        """Make this process's share of the open loop, from now on or dealt anew."""
        if self._open_loop is None:
            moments = self._pattern.moments(self._seed)
            make, number = self._process.make_next, self._process.number
            self._open_loop = OpenLoop(moments, make, process=number)
            self._greenlets += [gevent.spawn(self._open_loop.run), gevent.spawn(self._tell_arrived)]
        self._open_loop.deal(deal.zero_ns, deal.from_s, deal.hands)

    def _tell_arrived(self) -> None:
        while self._open_loop is not None:
            self._process.report(self._open_loop.arrived)
            gevent.sleep(1)

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
    # The harness's own workers need none of this. It brings numpy, and a worker that imports for
    # long sends no heartbeats.
    from routerspec.targets import load_target  # noqa: PLC0415
    from routerspec.targets.sealing import key_from  # noqa: PLC0415

    own = key_from(key, None, "--rs-key")
    if plan.references and target and Path(target).exists():
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
