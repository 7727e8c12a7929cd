"""The locustfile: Locust's users, and what leads them.

Two modes. With ``--rs-plan FILE`` a conductor works through the plan's scenarios, with the users
as its workers, and the process ends. Without it, plain Locust against a router that is already
running (``--host``, ``--rs-fakes``, ``--rs-cap``, ``--rs-models-ttl``), in the web UI or headless:
the users make the mixed load, the model list is requested by many at each expiry, and when the
test stops the run is judged.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import gevent
import msgspec
from locust import User, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import DistributedRunner, MasterRunner, WorkerRunner

from fake_providers.records.ledger import Ledger
from routerspec.errors import RouterspecError
from routerspec.plan.load_keys import with_keys
from routerspec.records.load_plan import (
    CREW,
    DONE,
    GIVEN_UP,
    LIMITED,
    ROUND,
    WAITING,
    read_access,
    read_plan,
)
from routerspec.records.router_process import ASK
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.registry import all_scenarios
from routerspec.scenarios.engine.router_process import Channel
from routerspec.scenarios.engine.service import GivenUp
from routerspec.scenarios.locust import options, web_tab
from routerspec.scenarios.locust.link import LocustLink
from routerspec.scenarios.preflight import SmokeFailed

if TYPE_CHECKING:
    from routerspec.scenarios.locust.planned_crew import PlannedCrew
    from routerspec.scenarios.locust.standalone import Standalone
    from routerspec.scenarios.locust.worker import Worker

HARNESS_ERROR = 4

# Locust shows all of INFO; the conductor's own control calls would flood it.
logging.getLogger("httpx").setLevel(logging.WARNING)


class RouterUser(User):
    """A worker: does the conductor's next job, or makes a request of the mixed load."""

    wait_time = constant(0)

    @task
    def work(self) -> None:
        """Do one job."""
        leader: Planned | Standalone | Worker | Idle = self.environment.routerspec
        leader.next_job()()


class Planned:
    """A test that plays a plan of the harness to its end, then quits."""

    def __init__(
        self, environment: Environment, plan_file: Path, link: LocustLink | None = None
    ) -> None:
        """``link``: to the workers, of a master."""
        self._environment = environment
        plan = read_access(sys.stdin.readline()).of(read_plan(plan_file))
        self._plan = with_keys(plan, os.environ)
        self._log = Ledger(
            Path(self._plan.folder) / "observations.jsonl",
            role="observations",
            run=self._plan.token,
        )
        self._conductor = Conductor(
            self._plan,
            environment.host.rstrip("/"),
            self._log,
            reporter(environment),
            lambda label: _print(ROUND, label),
            say=lambda text: _print(WAITING, text),
            asks=Channel(lambda text: _print(ASK, text)),
        )
        self._crew: PlannedCrew | None = None
        if link:
            from routerspec.scenarios.locust.planned_crew import PlannedCrew  # noqa: PLC0415

            self._crew = PlannedCrew(environment, link, plan, self._conductor)
        self._stopping = False
        self._watching: list[gevent.Greenlet] = []
        self._leading = gevent.spawn(self._conduct)

    def next_job(self) -> Callable[[], None]:
        """Wait for the conductor's next job."""
        job: Callable[[], None] = self._conductor.jobs.get()
        return job

    def stopping(self) -> None:
        """The load is stopped before the plan's end: Locust is about to stop its users.

        Whoever leads them stops first: to it, a round that lost its users would look finished.
        """
        self._stopping = True
        self._leading.kill()

    def await_ended(self) -> None:
        """Nothing is judged here."""

    def heard(self, worker: str) -> None:
        """There was a sign of life of a worker."""
        if self._crew:
            self._crew.heard(worker)

    def stop(self) -> None:
        """Close the log: no user writes to it any more."""
        self._close()
        if self._crew:  # Locust does not end where it stops since all workers are missing.
            print("the load was stopped before its end", file=sys.stderr)  # noqa: T201
            self._environment.process_exit_code = HARNESS_ERROR
            gevent.spawn(self._environment.runner.quit)

    def _conduct(self) -> None:
        self._watching.append(gevent.spawn(self._conductor.watch_stalls))
        self._watching.append(gevent.spawn(self._conductor.watch_clocks))
        if not self._plan.ways:  # Of several routers, all but one are others'.
            self._conductor.gives_up = True
            self._watching.append(gevent.spawn(self._conductor.service.watch))
        scenarios = all_scenarios()
        try:
            while self._environment.runner.user_count < self._environment.parsed_options.num_users:
                gevent.sleep(0.01)
            if self._crew:
                self._crew.await_all()
            if self._plan.secrets:
                self._conductor.control.canaries(self._plan.secrets)
            for name in self._plan.scenarios:
                scenarios[name](self._conductor)
                _print(DONE, name)
                self._conductor.check_service()
        except GivenUp as given_up:
            limited = self._conductor.service.limited
            _print(LIMITED if limited else GIVEN_UP, str(given_up))
        except SmokeFailed as failure:
            print(f"smoke failed: {failure}", file=sys.stderr)  # noqa: T201
        except Exception:
            traceback.print_exc()
            self._environment.process_exit_code = HARNESS_ERROR
        if not self._stopping:
            self._close()
            _exit(self._environment.process_exit_code or 0)

    def _close(self) -> None:
        gevent.killall(self._watching)
        if self._crew:
            _print(CREW, msgspec.json.encode(self._crew.finish()).decode())
        self._log.close(
            {"records": self._log.records, "control_changes": self._conductor.control.changes}
        )


def _exit(status: int) -> NoReturn:
    """End now: the users are idle and the log is closed, and Locust takes half a second to see."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class Idle:
    """No test, or one that is still starting or could not begin."""

    def __init__(self, environment: Environment, *, starting: bool = False) -> None:
        self._environment = environment
        self._starting = starting

    def next_job(self) -> Callable[[], None]:
        """A pause."""
        return lambda: gevent.sleep(1)

    def stopping(self) -> None:
        """Nothing to prepare."""

    def quitting(self) -> None:
        """Nothing to send."""

    def heard(self, worker: str) -> None:
        """Nobody is waited for."""

    def await_ended(self) -> None:
        """Nothing is judged."""

    def stop(self) -> None:
        """A test that stops before it has begun has proven nothing, and does not exit with 0."""
        if self._starting and self._environment.process_exit_code is None:
            print("routerspec: stopped before the load began: not judged", file=sys.stderr)  # noqa: T201
            self._environment.process_exit_code = HARNESS_ERROR

    def rows(self) -> list[web_tab.Row]:
        """Nothing to show."""
        return []

    def section(self) -> str:
        """Nothing to report."""
        return ""


def _print(what: str, text: str) -> None:
    """A line to the process that started this one."""
    print(f"{what}: {text}", flush=True)  # noqa: T201


def reporter(environment: Environment) -> Callable[[Exchange, str], None]:
    """Report every finished exchange to Locust's statistics, with its true response time."""

    def report(exchange: Exchange, error: str) -> None:
        # In open loop a request's time counts from when it was due: waiting for a user is latency.
        begun_ns = exchange.started_ns if exchange.due_ns is None else exchange.due_ns
        failed = error and exchange.outcome != "hung_up" and not exchange.expected_failure
        environment.events.request.fire(
            request_type=exchange.mode,
            name=exchange.route,
            response_time=(exchange.end_ns - begun_ns) / 1e6,
            response_length=len(exchange.content.text) or len(exchange.raw),
            exception=RuntimeError(error) if failed else None,
            context={},
        )

    return report


@events.init_command_line_parser.add_listener
def _add_arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument("--rs-plan", default="", include_in_web_ui=False, help="internal")
    options.add_arguments(parser)


@events.init.add_listener
def _show(environment: Environment, **_: object) -> None:
    # --run-time counts from the event loop's cached time, which is as old as the imports took.
    gevent.get_hub().loop.update_now()
    environment.routerspec = Idle(environment)
    options.keep(environment)
    runner = environment.runner
    environment.routerspec_link = (
        LocustLink(runner) if isinstance(runner, DistributedRunner) else None
    )
    if isinstance(runner, WorkerRunner):
        from routerspec.scenarios.locust import worker  # noqa: F401, PLC0415 - later it would be late

        # Before Locust's own, which tells the master that this process leaves.
        environment.events.quitting.add_listener(lambda **_: environment.routerspec.quitting())
    elif isinstance(runner, MasterRunner):
        if not environment.parsed_options.rs_plan:
            from routerspec.scenarios.locust import standalone  # noqa: F401, PLC0415 - as above
        environment.events.heartbeat_sent.add_listener(
            lambda client_id, **_: environment.routerspec.heard(client_id)
        )
        runner.quit = partial(_quit_when_judged, environment, runner.quit)
    if environment.web_ui:
        web_tab.add_tab(environment.web_ui, lambda: environment.routerspec)
    elif environment.parsed_options and environment.parsed_options.html_file:
        events.quit.add_listener(lambda **_: _add_section(environment))


def _add_section(environment: Environment) -> None:
    """Add our section to the report that Locust has just written."""
    report = Path(environment.parsed_options.html_file)
    if report.exists():
        page = web_tab.with_section(
            report.read_text(encoding="utf-8"), environment.routerspec.section()
        )
        report.write_text(page, encoding="utf-8")


@events.test_start.add_listener
def _lead(environment: Environment, **_: object) -> None:
    environment.routerspec.await_ended()
    options.restore(environment)
    plan = environment.parsed_options.rs_plan
    environment.routerspec = Idle(environment, starting=True)
    try:
        if plan and not isinstance(environment.runner, WorkerRunner):
            environment.routerspec = Planned(environment, Path(plan), environment.routerspec_link)
        else:
            environment.routerspec = _standalone(environment)
        if isinstance(environment.runner, MasterRunner):
            options.hide_key(environment)
    except (RouterspecError, OSError) as error:
        print(f"routerspec: {error}", file=sys.stderr)  # noqa: T201
        environment.process_exit_code = getattr(error, "exit_code", HARNESS_ERROR)
        environment.routerspec = Idle(environment)
        gevent.spawn(environment.runner.quit)


def _standalone(environment: Environment) -> Standalone | Worker:
    # A plan needs neither checks nor numpy, which take longer to import than all of the scenarios.
    link = environment.routerspec_link
    if isinstance(environment.runner, WorkerRunner):
        from routerspec.scenarios.locust.worker import Worker  # noqa: PLC0415

        return Worker(environment, link, reporter(environment))
    from routerspec.scenarios.locust.standalone import Standalone  # noqa: PLC0415

    return Standalone(environment, reporter(environment), link)


def _quit_when_judged(environment: Environment, quit_: Callable[[], None]) -> None:
    """Quit as Locust's master does: it tells its workers to leave, and hears nobody any more.

    There is no event before that once a test was stopped.
    """
    environment.runner.stop(send_stop_to_client=False)
    environment.routerspec.await_ended()
    quit_()


@events.test_stopping.add_listener
def _wind_down(environment: Environment, **_: object) -> None:
    environment.routerspec.stopping()


@events.test_stop.add_listener
def _end(environment: Environment, **_: object) -> None:
    environment.routerspec.stop()
