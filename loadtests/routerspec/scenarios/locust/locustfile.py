"""What Locust runs: the users, and who leads them.

Two ways in. ``--rs-plan FILE``: the harness leads; a conductor works through the plan's scenarios
with the users as hands, then the process ends. Without it, plain Locust against a router that
runs already (``--host``, ``--rs-fakes``, ``--rs-cap``, ``--rs-models-ttl``), in the web UI or
headless: the users make the mixed load, the model list is stampeded at each expiry, and when the
test stops the run is judged.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import gevent
from locust import User, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from fake_providers.records.ledger import Ledger
from routerspec.errors import RouterspecError
from routerspec.records.load_plan import read_plan
from routerspec.scenarios.catalogue import SCENARIOS
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.locust import web_tab
from routerspec.scenarios.locust.standalone import Standalone, add_arguments
from routerspec.scenarios.preflight import SmokeFailed

HARNESS_ERROR = 4

# Locust shows all of INFO; the conductor's own short calls are not the user's concern.
logging.getLogger("httpx").setLevel(logging.WARNING)


class RouterUser(User):
    """A hand: takes what the conductor asks for, or makes the mixed load where nobody leads."""

    wait_time = constant(0)

    @task
    def lend_a_hand(self) -> None:
        """Do one thing."""
        leader: Led | Standalone | Nobody = self.environment.routerspec
        leader.next_job()()


class Led:
    """The harness leads: play the plan to its end, then quit."""

    def __init__(self, environment: Environment, plan_file: Path) -> None:
        self._environment = environment
        self._plan = read_plan(plan_file)
        self._log = Ledger(
            Path(self._plan.folder) / "observations.jsonl",
            role="observations",
            run=self._plan.token,
        )
        self._conductor = Conductor(
            self._plan, environment.host.rstrip("/"), self._log, reporter(environment), _announce
        )
        self._stopping = False
        self._leading = gevent.spawn(self._conduct)

    def next_job(self) -> Callable[[], None]:
        """Wait for the conductor's next wish."""
        job: Callable[[], None] = self._conductor.jobs.get()
        return job

    def stopping(self) -> None:
        """Locust is about to stop its users, who end with what they do."""

    def stop(self) -> None:
        """Close the log, also where the load is stopped before the plan's end."""
        self._stopping = True
        if gevent.getcurrent() is not self._leading:
            self._leading.kill()

    def _conduct(self) -> None:
        beat = gevent.spawn(self._conductor.beat)
        try:
            while self._environment.runner.user_count < self._environment.parsed_options.num_users:
                gevent.sleep(0.01)
            if self._plan.secrets:
                self._conductor.control.canaries(self._plan.secrets)
            for name in self._plan.scenarios:
                SCENARIOS[name](self._conductor)
        except SmokeFailed as failure:
            print(f"smoke failed: {failure}", file=sys.stderr)  # noqa: T201
        except Exception:
            traceback.print_exc()
            self._environment.process_exit_code = HARNESS_ERROR
        finally:
            beat.kill()
            self._log.close({"records": self._log.records})
            if not self._stopping:
                self._environment.runner.quit()


class Nobody:
    """Nobody leads: the test could not begin, and is about to stop."""

    def next_job(self) -> Callable[[], None]:
        """Nothing, for a while."""
        return lambda: gevent.sleep(1)

    def stopping(self) -> None:
        """Nobody to tell."""

    def stop(self) -> None:
        """Nothing to close."""

    def rows(self) -> list[web_tab.Row]:
        """Nothing to show."""
        return []

    def section(self) -> str:
        """Nothing to report."""
        return ""


def _announce(label: str) -> None:
    """Tell the process that started this one, a line a round."""
    print(f"round: {label}", flush=True)  # noqa: T201


def reporter(environment: Environment) -> Callable[[Exchange, str], None]:
    """Tell Locust's own statistics of every exchange, once it is over and with its true time."""

    def report(exchange: Exchange, error: str) -> None:
        # In open loop a request's time begins when it was due: who waited for a user has waited.
        begun_ns = exchange.started_ns if exchange.due_ns is None else exchange.due_ns
        blamed = error and exchange.outcome != "hung_up" and not exchange.provoked
        environment.events.request.fire(
            request_type=exchange.mode,
            name=exchange.route,
            response_time=(exchange.end_ns - begun_ns) / 1e6,
            response_length=len(exchange.content.text) or len(exchange.raw),
            exception=RuntimeError(error) if blamed else None,
            context={},
        )

    return report


@events.init_command_line_parser.add_listener
def _add_arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument("--rs-plan", default="", include_in_web_ui=False, help="internal")
    add_arguments(parser)


@events.init.add_listener
def _show(environment: Environment, **_: object) -> None:
    environment.routerspec = Nobody()
    if environment.web_ui:
        web_tab.add_tab(environment.web_ui, lambda: environment.routerspec)
    elif environment.parsed_options and environment.parsed_options.html_file:
        events.quit.add_listener(lambda **_: _add_section(environment))


def _add_section(environment: Environment) -> None:
    """To the report that Locust has just written."""
    report = Path(environment.parsed_options.html_file)
    if report.exists():
        page = web_tab.with_section(
            report.read_text(encoding="utf-8"), environment.routerspec.section()
        )
        report.write_text(page, encoding="utf-8")


@events.test_start.add_listener
def _lead(environment: Environment, **_: object) -> None:
    plan = environment.parsed_options.rs_plan
    try:
        if plan:
            environment.routerspec = Led(environment, Path(plan))
        else:
            environment.routerspec = Standalone(environment, reporter(environment))
    except (RouterspecError, OSError) as error:
        print(f"routerspec: {error}", file=sys.stderr)  # noqa: T201
        environment.process_exit_code = getattr(error, "exit_code", HARNESS_ERROR)
        environment.routerspec = Nobody()
        gevent.spawn(environment.runner.quit)


@events.test_stopping.add_listener
def _wind_down(environment: Environment, **_: object) -> None:
    environment.routerspec.stopping()


@events.test_stop.add_listener
def _end(environment: Environment, **_: object) -> None:
    environment.routerspec.stop()
