"""The workers of a master that plays a plan: they make what many clients make at once.

The scripted rounds are made by greenlets of the master, which has no users of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import gevent
from locust import runners
from locust.env import Environment

from routerspec.errors import HarnessError
from routerspec.records.load_plan import Crewed, LoadPlan
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.led import Led
from routerspec.scenarios.engine.load_processes import LoadProcesses
from routerspec.scenarios.engine.messages import Link
from routerspec.scenarios.engine.waiting import wait_until

LIVENESS: Final = 20
"""Heartbeats, one a second, that a worker may miss before Locust counts it as missing."""
_HERE_WITHIN_S: Final = 60.0


class PlannedCrew:
    """The workers of one plan, from their beginning to the end of their files."""

    def __init__(
        self, environment: Environment, link: Link, plan: LoadPlan, conductor: Conductor
    ) -> None:
        """``plan`` has references in place of keys."""
        # Each start of a verification has such a master, and their machine may be short of time.
        runners.HEARTBEAT_LIVENESS = LIVENESS
        self._expected: int = environment.parsed_options.expect_workers
        self._processes = LoadProcesses(link, plan, conductor.host, Path(plan.folder))
        self._led = Led(link, conductor, self._processes, gone_s=LIVENESS)
        self._conductor = conductor
        conductor.crew = self._led.crew
        users: int = environment.parsed_options.num_users
        self._greenlets = [gevent.spawn(self._work) for _ in range(users)]
        self._finished: Crewed | None = None

    def await_all(self) -> None:
        """Wait until all are there. Raises HarnessError where one does not come."""

        def all_here() -> bool:
            self._led.look()
            return len(self._led.crew.present) >= self._expected

        if not wait_until(all_here, _HERE_WITHIN_S):
            raise HarnessError(
                f"{len(self._led.crew.present)} of {self._expected} load processes began within "
                f"{_HERE_WITHIN_S:g} s."
            )
        self._greenlets.append(gevent.spawn(self._led.watch))

    def heard(self, worker: str) -> None:
        """There was a sign of life of a worker."""
        self._processes.heard(worker)

    def finish(self) -> Crewed:
        """Have all of them stop, and wait for their records; whose there are."""
        if self._finished is None:
            self._processes.stop()
            self._processes.finish()
            gevent.killall([each for each in self._greenlets if each is not gevent.getcurrent()])
            self._finished = Crewed(here=self._processes.here, lost=self._processes.lost)
        return self._finished

    def _work(self) -> None:
        """Do the conductor's jobs, in a greenlet that is not a Locust user."""
        while True:
            self._conductor.jobs.get()()
