"""Plain Locust: mixed load by its users, and many model-list requests at each expiry.

Decides what a run is when Locust was started without the harness: every start of a test (each
press of the button in the web UI) is a run, and when it stops ``routerspec judge`` judges it in a
process of its own. The exit code is only ever raised. Starts and stops no router.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
import gevent.queue
from locust.env import Environment

from fake_providers.records.ledger import Ledger
from routerspec import __version__
from routerspec.checks import REGISTRY
from routerspec.errors import RouterspecError
from routerspec.limits import LIST_CLIENTS
from routerspec.plan import arrivals
from routerspec.plan.load_keys import opened, referring
from routerspec.plan.starts import route_plans
from routerspec.processes.control_group import connected
from routerspec.processes.own_code import CONTROL_VARIABLE
from routerspec.processes.ports import checked_url
from routerspec.records.load_plan import LoadPlan
from routerspec.records.load_processes import name_of
from routerspec.records.providers import counts
from routerspec.records.run import (
    RunFolder,
    RunInfo,
    Settings,
    StartInfo,
    evidence_file,
    new_token,
)
from routerspec.scenarios.engine.conductor import Conductor
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.led import Led
from routerspec.scenarios.engine.load_processes import NOT_ENDED, LoadProcesses
from routerspec.scenarios.engine.messages import Known, Link, Mixed
from routerspec.scenarios.load import mixed_request
from routerspec.scenarios.locust import web_tab
from routerspec.scenarios.locust.live_verdict import (
    EXIT_NOT_JUDGED,
    LiveVerdict,
    judge_status,
    judged,
)
from routerspec.scenarios.locust.open_loop import OpenLoop, summary_of
from routerspec.scenarios.models.lists import list_expiry
from routerspec.scenarios.preflight import SmokeFailed, smoke
from routerspec.scrub import SECRETS
from routerspec.targets import Target, attached_target, load_target
from routerspec.targets.sealing import key_from

_SCENARIOS = ("smoke", "load", "list-expiry")
_CHECKS = tuple(
    check.id for check in REGISTRY.values() if {"load", "list-expiry"}.intersection(check.scenarios)
)
"""The checks that read more than smoke of what is played here."""
_STOP_WITHIN_S = 10
_BEGINS_AHEAD_NS = 500_000_000
"""So far ahead is the moment from which a schedule is dealt out: all workers know of it by then."""


class Standalone:
    """One test of plain Locust, from its start to its stop."""

    def __init__(
        self,
        environment: Environment,
        report: Callable[[Exchange, str], None],
        link: Link | None = None,
    ) -> None:
        """``link``: to the workers, of a master."""
        environment.stop_timeout = max(environment.stop_timeout or 0, _STOP_WITHIN_S)
        options = environment.parsed_options
        self._environment = environment
        host = checked_url(
            environment.host or "",
            allow_remote=options.rs_allow_remote,
            permission="--rs-allow-remote",
        )
        self._target = _target(host, options)
        fakes_token = os.environ.get(CONTROL_VARIABLE, "")
        self._control = connected(options.rs_fakes, fakes_token)
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
        keys = {"client_key": key_from(options.rs_key, None, "--rs-key")}
        plan = LoadPlan(
            token=self._info.run,
            folder=str(self._start),
            control=self._control.url,
            control_token=fakes_token,
            control_further=dict(self._control.further),
            clocks=self._control.clocks(),
            routes=route_plans(self._target, keys),
            headers=self._target.client_request_headers(keys),
            list_path=self._target.list_path,
            promises=self._target.promises,
            scenarios=(),
            seed=self._info.seed,
        )
        self._processes = (
            LoadProcesses(link, referring(plan), host, self._start, changed=self._write_start)
            if link
            else None
        )
        plan = opened(plan, {}, SECRETS.named())
        self._conductor = Conductor(plan, host, self._log, report)
        self._led: Led | None = None
        self._zero_ns: int | None = None
        """When the schedule of an open loop began that is dealt out to load processes."""
        if link and self._processes:
            self._led = Led(link, self._conductor, self._processes, changed=self._deal)
            self._conductor.crew = self._led.crew
        self._round = 0
        self._ready = gevent.event.Event()
        self._write_start()
        self._live = LiveVerdict(self._control, self._folder.path, self._info, self._started)
        self._verdict: list[dict[str, Any]] = []
        self._ending: gevent.Greenlet | None = None
        self._greenlets = [
            gevent.spawn(self._conductor.watch_stalls),
            gevent.spawn(self._conductor.watch_clocks),
            gevent.spawn(self._lead),
        ]
        if self._open_loop or self._processes:
            # Users of an open loop send what is due: list requests would make them late. A master
            # has none.
            self._greenlets += [gevent.spawn(self._work) for _ in range(LIST_CLIENTS)]
        if self._led:
            self._greenlets.append(gevent.spawn(self._led.watch))
        if environment.web_ui:
            self._greenlets.append(gevent.spawn(self._live.run))

    def next_job(self) -> Callable[[], None]:
        """What a user does next: the conductor's jobs first, the mixed load otherwise."""
        if self._open_loop:
            return self._open_loop.serve
        try:
            if not self._ready.is_set():
                return self._conductor.jobs.get()
            return self._conductor.jobs.get_nowait()
        except gevent.queue.Empty:
            return self._mixed

    def rows(self) -> list[web_tab.Row]:
        """The rows of the tab in the web UI, now."""
        promises = self._target.promises
        cap = promises.cap.limit if promises.cap else None
        ttl_s = promises.model_list.ttl_s if promises.model_list else None
        try:
            live = web_tab.live_rows(self._control.now(), cap, ttl_s)
        except RouterspecError as error:
            live = [{"what": "fake providers", "now": str(error), "promised": ""}]
        if arrived := self._arrivals():
            live.append({"what": "arrivals", "now": arrived, "promised": ""})
        if self._verdict:
            return [*web_tab.check_rows(self._verdict, "the end of the test"), *live]
        return [*web_tab.check_rows(self._live.checks, self._live.at), *live]

    def section(self) -> str:
        """The section of the run in Locust's HTML report."""
        return web_tab.report_section(self._verdict or self._live.checks, str(self._folder.path))

    def _work(self) -> None:
        """Do the conductor's jobs, in a greenlet that is not a Locust user."""
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
        except Exception as error:  # Else the users would wait for ever.
            traceback.print_exc()
            self._give_up(f"internal error: {error}", EXIT_NOT_JUDGED)

    def _play(self) -> None:
        smoke(self._conductor)
        with self._conductor.round("load") as round_:
            self._round = round_.number
            self._ready.set()
            if self._processes:
                self._processes.task(
                    Mixed(
                        run=self._info.run,
                        round=round_.number,
                        known=Known.of(self._conductor),
                        paced=self._paced,
                    )
                )
            self._begin_open_loop()
            while self._target.promises.model_list is not None:
                self._move_epoch()
                list_expiry(self._conductor)
            gevent.sleep(float("inf"))

    def _begin_open_loop(self) -> None:
        """Its requests fall due from now on; in a master, those of its workers a little later."""
        if self._open_loop is None:
            return
        if self._led is None:
            self._greenlets.append(gevent.spawn(self._open_loop.run))
            return
        self._led.look()
        self._zero_ns = time.monotonic_ns() + _BEGINS_AHEAD_NS
        self._led.crew.deal(self._zero_ns, 0.0)

    def _deal(self) -> None:
        """Deal the open loop out anew: a load process has joined, or is gone."""
        if self._led is not None and self._zero_ns is not None:
            ahead_ns = time.monotonic_ns() + _BEGINS_AHEAD_NS - self._zero_ns
            self._led.crew.deal(self._zero_ns, max(0.0, ahead_ns / 1e9))

    def _arrivals(self) -> str:
        """The requests of the open loop, in a line; empty: there is none."""
        if self._open_loop is None:
            return ""
        return summary_of(self._led.crew.arrived if self._led else self._open_loop.arrived)

    def _not_judged(self, sentence: str, code: int) -> None:
        print(f"routerspec: {sentence}", file=sys.stderr)  # noqa: T201
        self._raise_exit_code(code)

    def _give_up(self, sentence: str, code: int) -> None:
        self._not_judged(sentence, code)
        gevent.spawn(self._environment.runner.quit)

    def _move_epoch(self) -> None:
        """A new list at each expiry, so that a router that serves an old one again is caught."""
        lists = self._control.now().lists.values()
        self._control.lists(epoch=1 + max(state.epoch for state in lists))

    def stopping(self) -> None:
        """Locust is about to stop its users: nothing more is due."""
        if self._open_loop:
            self._open_loop.end()
        if self._processes:
            self._processes.stop()

    def heard(self, worker: str) -> None:
        """There was a sign of life of a worker."""
        if self._processes:
            self._processes.heard(worker)

    def stop(self) -> None:
        """End the run. A master's listeners must return: it stops in any greenlet of its own, that
        which reads the messages among them.
        """
        if self._processes is None:
            self._end()
        elif self._ending is None:
            self._ending = gevent.spawn(self._end)

    def await_ended(self) -> None:
        """Wait until a run that was stopped is judged."""
        if self._ending is not None:
            self._ending.join()

    def _end(self) -> None:
        """Close the run and have it judged by a process of its own.

        Locust logs what a listener raises, and goes on to its own exit code, which may be 0.
        """
        try:
            self._close_and_judge()
        except RouterspecError as error:
            self._not_judged(str(error), error.exit_code)
        except Exception as error:  # A full disk, no memory for another process.
            traceback.print_exc()
            self._not_judged(f"the run was not judged: {error}", EXIT_NOT_JUDGED)

    def _close_and_judge(self) -> None:
        if self._processes:
            self._processes.finish()
        gevent.killall([g for g in self._greenlets if g is not gevent.getcurrent()])
        changes = self._control.changes + self._conductor.control.changes
        self._log.close({"records": self._log.records, "control_changes": changes})
        if arrived := self._arrivals():
            print(f"routerspec: arrivals: {arrived}.")  # noqa: T201
        self._fetch_evidence()
        self._folder.write_start(self._started(finished=True))
        self._tell_lost()
        self._raise_exit_code(judge_status(self._folder.path))
        if self._environment.web_ui or self._environment.parsed_options.html_file:
            verdict = judged(self._folder.path)
            self._verdict = verdict["checks"] if verdict else []

    def _raise_exit_code(self, code: int) -> None:
        """Never lower it, and never set it to 0, which would hide Locust's own."""
        code = max(code, self._environment.process_exit_code or 0)
        self._environment.process_exit_code = code or None

    def _fetch_evidence(self) -> None:
        self._control.reset()
        self._await_idle_fakes()
        for name, evidence in self._control.ledgers(closed=True).items():
            (self._start / evidence_file(name)).write_bytes(evidence)

    def _await_idle_fakes(self) -> None:
        """Nothing is held any more, so calls in flight end now; the evidence must be complete."""
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
            instances=counts(self._control.further),
            selected=_CHECKS,
            starts=("locust",),
        )
        self._folder.write_info(info)
        return info

    def _write_start(self) -> None:
        """Whatever becomes of this process, its run says who belonged to it."""
        self._folder.write_start(self._started(finished=False))

    def _lost(self, *, finished: bool) -> dict[int, str]:
        """A master that is killed says by this that its own records are short, too."""
        if self._processes is None:
            return {}
        return self._processes.lost if finished else {0: NOT_ENDED, **self._processes.lost}

    def _tell_lost(self) -> None:
        for number, reason in (self._processes.lost if self._processes else {}).items():
            print(f"routerspec: {name_of(number)} was lost: {reason}.", file=sys.stderr)  # noqa: T201

    def _started(self, *, finished: bool = False) -> StartInfo:
        return StartInfo(
            name="locust",
            token=self._info.run,
            attempt=1,
            settings=Settings.as_promised(self._target.promises),
            scenarios=_SCENARIOS,
            finished=finished,
            load_processes=self._processes.here if self._processes else (),
            lost_load_processes=self._lost(finished=finished),
        )


def _target(host: str, options: Any) -> Target:
    if options.rs_target:
        return load_target(options.rs_target)
    if not options.rs_cap and not options.rs_models_ttl:
        raise RouterspecError(
            "No promise to verify: pass --rs-cap, --rs-models-ttl or --rs-target."
        )
    return attached_target(
        host,
        cap=options.rs_cap or None,
        models_ttl_s=options.rs_models_ttl or None,
        key=key_from(options.rs_key, None, "--rs-key") or None,
        front=options.rs_front,
    )
