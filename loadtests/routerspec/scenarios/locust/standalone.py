"""Plain Locust leads: mixed load by its users, a stampede on the model list at each expiry.

Decides what a run is when nobody but Locust started it: every start of a test (each press of the
button in the web UI) is a run of its own, and its stop has ``routerspec judge`` read it in a
process of its own. The exit code is only ever raised. Refuses to start or stop a router.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
import gevent.queue
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from fake_providers.records.ledger import Ledger
from routerspec import __version__
from routerspec.checks import REGISTRY
from routerspec.errors import RouterspecError
from routerspec.limits import LIST_CLIENTS
from routerspec.plan import arrivals
from routerspec.plan.starts import route_plans
from routerspec.processes.control import Control
from routerspec.records.load_plan import LoadPlan
from routerspec.records.run import RunFolder, RunInfo, Settings, StartInfo, new_token
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.load import mixed_request
from routerspec.scenarios.locust import web_tab
from routerspec.scenarios.locust.live_verdict import SoFar, judged
from routerspec.scenarios.locust.open_loop import OpenLoop
from routerspec.scenarios.models.lists import list_expiry
from routerspec.scenarios.preflight import SmokeFailed, smoke
from routerspec.targets import Target, attached_target, load_target

_SCENARIOS = ("smoke", "load", "list-expiry")
_CHECKS = tuple(
    check.id for check in REGISTRY.values() if {"load", "list-expiry"}.intersection(check.scenarios)
)
"""The checks that read more than smoke of what is played here."""
_STOP_WITHIN_S = 10
EXIT_NOT_JUDGED = 4


def add_arguments(parser: LocustArgumentParser) -> None:
    """Our options, all prefixed, shown in the web UI too."""
    group = parser.add_argument_group("routerspec")
    group.add_argument(
        "--rs-fakes", default="http://127.0.0.1:8002", help="control URL of the fakes"
    )
    group.add_argument("--rs-cap", type=int, default=0, help="the promised cap; 0: none promised")
    group.add_argument(
        "--rs-models-ttl", type=float, default=0.0, help="promised TTL of the model list; 0: none"
    )
    group.add_argument("--rs-target", default="", help="a target file instead of cap and TTL")
    group.add_argument("--rs-key", default="", help="the client's key for the router")
    group.add_argument(
        "--rs-arrivals",
        choices=arrivals.KINDS,
        default=arrivals.CLOSED,
        help="closed: a user asks again when it has its answer; poisson, bursts: open loop, at a "
        "rate that no slow answer slows down (give as many users as may be under way at once)",
    )
    group.add_argument(
        "--rs-rate", type=float, default=arrivals.USUAL_RATE, help="requests a second, in open loop"
    )
    group.add_argument(
        "--rs-burst-cv",
        type=float,
        default=arrivals.TRACED_CV,
        help="how bursty: standard deviation of the gaps by their mean (1: as poisson)",
    )
    group.add_argument("--rs-seed", type=int, default=0, help="the same load again")
    group.add_argument("--rs-runs", default=".routerspec/runs", help="where runs are written")


class Standalone:
    """One test of plain Locust, from its start to its stop."""

    def __init__(self, environment: Environment, report: Callable[[Exchange, str], None]) -> None:
        environment.stop_timeout = max(environment.stop_timeout or 0, _STOP_WITHIN_S)
        options = environment.parsed_options
        self._environment = environment
        self._target = _target(environment.host, options)
        self._control = Control(options.rs_fakes)
        self._paced = bool(self._control.health().profiles)
        self._seed = options.rs_seed
        pattern = arrivals.Pattern(
            kind=options.rs_arrivals, rate=options.rs_rate, cv=options.rs_burst_cv
        )
        self._open_loop = (
            OpenLoop(pattern.moments(options.rs_seed), self._mixed) if pattern.is_open else None
        )
        self._folder = RunFolder.create(Path(options.rs_runs), "locust")
        self._info = self._write_info()
        self._start = self._folder.start("locust")
        self._log = Ledger(
            self._start / "observations.jsonl", role="observations", run=self._info.run
        )
        keys = {"client_key": options.rs_key}
        plan = LoadPlan(
            token=self._info.run,
            folder=str(self._start),
            control=options.rs_fakes,
            routes=route_plans(self._target, keys),
            headers=self._target.client_request_headers(keys),
            list_path=self._target.list_path,
            promises=self._target.promises,
            scenarios=(),
            seed=self._info.seed,
        )
        self._conductor = Conductor(plan, environment.host.rstrip("/"), self._log, report)
        self._round = 0
        self._ready = gevent.event.Event()
        self._so_far = SoFar(
            self._control, self._folder.path, self._info, self._started(finished=False)
        )
        self._verdict: list[dict[str, Any]] = []
        self._greenlets = [gevent.spawn(self._conductor.beat), gevent.spawn(self._lead)]
        if self._open_loop:
            # Its users are for what is due: clients of the list would make them late for it.
            self._greenlets += [gevent.spawn(self._help) for _ in range(LIST_CLIENTS)]
        if environment.web_ui:
            self._greenlets.append(gevent.spawn(self._so_far.keep_looking))

    def next_job(self) -> Callable[[], None]:
        """What a user does next: what the conductor wants first, the mixed load otherwise."""
        if self._open_loop:
            return self._open_loop.serve
        try:
            if not self._ready.is_set():
                return self._conductor.jobs.get()
            return self._conductor.jobs.get_nowait()
        except gevent.queue.Empty:
            return self._mixed

    def rows(self) -> list[web_tab.Row]:
        """What the tab of the web UI shows now."""
        promises = self._target.promises
        cap = promises.cap.limit if promises.cap else None
        ttl_s = promises.model_list.ttl_s if promises.model_list else None
        try:
            live = web_tab.live_rows(self._control.now(), cap, ttl_s)
        except RouterspecError as error:
            live = [{"what": "the fakes", "now": str(error), "promised": ""}]
        if self._open_loop:
            live.append({"what": "arrivals", "now": self._open_loop.words(), "promised": ""})
        if self._verdict:
            return [*web_tab.check_rows(self._verdict, "the end of the test"), *live]
        return [*web_tab.check_rows(self._so_far.checks, self._so_far.at), *live]

    def section(self) -> str:
        """What Locust's HTML report is given of the run."""
        return web_tab.report_section(self._verdict or self._so_far.checks, str(self._folder.path))

    def _help(self) -> None:
        """Do what the conductor wants, in a greenlet that is no user of Locust's."""
        while True:
            self._conductor.jobs.get()()

    def _mixed(self, due_ns: int | None = None) -> None:
        exchange = mixed_request(self._conductor, self._round, paced=self._paced)
        exchange.due_ns = due_ns
        self._conductor.make(exchange)

    def _lead(self) -> None:
        try:
            self._play()
        except SmokeFailed as failure:
            self._give_up(f"smoke failed: {failure}", EXIT_NOT_JUDGED)
        except RouterspecError as error:
            self._give_up(str(error), error.exit_code)

    def _play(self) -> None:
        smoke(self._conductor)
        with self._conductor.round("load") as played:
            self._round = played.number
            self._ready.set()
            if self._open_loop:
                self._greenlets.append(gevent.spawn(self._open_loop.run))
            while self._target.promises.model_list is not None:
                self._move_epoch()
                list_expiry(self._conductor)
            gevent.sleep(float("inf"))

    def _give_up(self, sentence: str, code: int) -> None:
        print(f"routerspec: {sentence}", file=sys.stderr)  # noqa: T201
        self._raise_exit_code(code)
        self._environment.runner.quit()

    def _move_epoch(self) -> None:
        """A new list at each expiry, so that a router that goes back to an old one shows it."""
        lists = self._control.now().lists.values()
        self._control.lists(epoch=1 + max(state.epoch for state in lists))

    def stopping(self) -> None:
        """Locust is about to stop its users: nothing more is due for them."""
        if self._open_loop:
            self._open_loop.end()

    def stop(self) -> None:
        """Close the run and have it judged by a process of its own."""
        gevent.killall([g for g in self._greenlets if g is not gevent.getcurrent()])
        self._log.close({"records": self._log.records})
        if self._open_loop:
            print(f"routerspec: arrivals: {self._open_loop.words()}.")  # noqa: T201
        try:
            self._fetch_evidence()
        except RouterspecError as error:
            print(f"routerspec: {error}", file=sys.stderr)  # noqa: T201
            self._raise_exit_code(error.exit_code)
            return
        self._folder.write_start(self._started(finished=True))
        command = [sys.executable, "-P", "-m", "routerspec", "judge", str(self._folder.path)]
        self._raise_exit_code(subprocess.run(command, check=False).returncode)
        if self._environment.web_ui or self._environment.parsed_options.html_file:
            verdict = judged(self._folder.path)
            self._verdict = verdict["checks"] if verdict else []

    def _raise_exit_code(self, code: int) -> None:
        """Never lower it, and never set it to 0, which would hide what Locust itself found."""
        code = max(code, self._environment.process_exit_code or 0)
        self._environment.process_exit_code = code or None

    def _fetch_evidence(self) -> None:
        self._control.reset()
        self._await_idle_fakes()
        (self._start / "evidence.jsonl").write_bytes(self._control.closed_ledger())

    def _await_idle_fakes(self) -> None:
        """What the router still has open ends now that nothing is held; a copy needs that."""
        give_up = time.monotonic() + _STOP_WITHIN_S
        while time.monotonic() < give_up:
            if not self._control.now().unfinished:
                return
            gevent.sleep(0.05)

    def _write_info(self) -> RunInfo:
        info = RunInfo(
            run=new_token(),
            target=self._target.title,
            version="running",
            routerspec=__version__,
            command="locust " + " ".join(sys.argv[1:]),
            seed=self._seed,
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            promises=self._target.promises,
            routes=self._target.route_infos(),
            selected=_CHECKS,
            starts=("locust",),
        )
        self._folder.write_info(info)
        return info

    def _started(self, *, finished: bool) -> StartInfo:
        return StartInfo(
            name="locust",
            token=self._info.run,
            attempt=1,
            settings=Settings.as_promised(self._target.promises),
            scenarios=_SCENARIOS,
            finished=finished,
        )


def _target(host: str, options: Any) -> Target:
    if options.rs_target:
        return load_target(options.rs_target)
    if not options.rs_cap and not options.rs_models_ttl:
        raise RouterspecError(
            "Nothing is promised, so nothing can be judged: give --rs-cap, --rs-models-ttl or "
            "--rs-target."
        )
    return attached_target(
        host,
        cap=options.rs_cap or None,
        models_ttl_s=options.rs_models_ttl or None,
        key=options.rs_key or None,
    )
