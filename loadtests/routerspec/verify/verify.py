"""One verification: starts, scenarios, history, and only then the verdict.

Decides which starts run in parallel, what is played again, and what happens when a start fails.
Refuses to judge: it writes files, closes them, and has the judge read them.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec
from msgspec import UNSET

from routerspec import __version__
from routerspec.checks import REGISTRY, Check
from routerspec.checks.check import TargetFacts
from routerspec.errors import HarnessError, RouterspecError, is_full
from routerspec.judge import judge
from routerspec.judge import verdict_json as report_json
from routerspec.plan.processors import processors
from routerspec.plan.starts import (
    SPECIAL,
    SUPPORT,
    WITH_REPLICAS,
    StartPlan,
    again,
    plan_starts,
    scenarios_only_on,
    users_for,
)
from routerspec.processes.child import is_first_signal, stop_all
from routerspec.processes.foreign import end_waits
from routerspec.processes.preloading import preloading
from routerspec.processes.router import UNKNOWN_VERSION, installed_version, new_keys
from routerspec.records import timings
from routerspec.records.placeholders import PLACEHOLDERS
from routerspec.records.run import RunFolder, RunInfo, new_token, read_run
from routerspec.scrub import SECRETS
from routerspec.targets import Target
from routerspec.verdict import Verdict
from routerspec.verify import retry
from routerspec.verify.fail_fast import FailFast
from routerspec.verify.progress import Progress
from routerspec.verify.request import VerifyRequest
from routerspec.verify.schedule import Schedule, play_all
from routerspec.verify.start_run import Run, play_start, prepare

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def verify(request: VerifyRequest, progress: Progress) -> tuple[Verdict, Path]:
    """Make a run and judge it; the verdict and the run's directory.

    Raises TargetNotReady, HarnessError or UsageError; the records until then are kept.
    """
    users_for(request.target)  # Refuses a cap that cannot be tried before anything is started.
    run = Run(
        request=request,
        folder=RunFolder.create(request.runs, request.target.name),
        token=new_token(),
        progress=progress,
        keys=new_keys(),
        schedule=Schedule.of_this_machine(fixed_ports=request.ports.any_fixed),
    )
    if request.fail_fast:
        run.on_over = FailFast(run).judge_so_far
    info = _info(run)
    starts = _starts(request, info, request.checks)
    programs = {"locust": len(starts), "fake_providers": 0 if request.fakes else len(starts)}
    with _stopped_by_signals(run), _disk_named(run.folder.path), preloading(programs):
        run.folder.write_info(info)
        info = _play_all(run, info, starts)
        verdict = _judged(run)
        unclear, vain = retry.unclear(verdict, starts, run.given_up)
        if run.is_limited:
            unclear, vain = (), (*unclear, *vain)
        if vain and not run.cancelled.is_set():
            progress.say(
                "not retried (the router fails, lacks slots, or has a limit of its own): "
                f"{', '.join(vain)}"
            )
        if unclear and not request.only_smoke and not run.cancelled.is_set():
            progress.say(f"retrying in isolation (inconclusive): {', '.join(unclear)}")
            try:
                _play_all(run, info, _starts(request, info, unclear, second=True))
            except (RouterspecError, OSError) as error:
                progress.say(f"the retry failed: {error}")
            verdict = _judged(run)
    try:
        text = SECRETS.hide(report_json.encode(verdict))
        (run.folder.path / "verdict.json").write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:  # What is proven stays proven; the file can be made again.
        progress.say(f"verdict.json could not be written: {error.strerror}")
    with contextlib.suppress(OSError):
        timings.write(run.folder.path, _timings(run))
    return verdict, run.folder.path


def _judged(run: Run) -> Verdict:
    began = time.monotonic()
    verdict = judge.judge(read_run(run.folder.path))
    run.judging_s += time.monotonic() - began
    return verdict


def _timings(run: Run) -> timings.Timings:
    return timings.Timings(
        seconds=round(time.monotonic() - run.began, 3),
        judging_s=round(run.judging_s, 3),
        cpu_s=round(time.process_time(), 3),
        processors=processors(),
        starts=tuple(watch.times(run.began) for watch in run.watches),
    )


def _info(run: Run) -> RunInfo:
    request = run.request
    title = request.target.title
    name = f"{title} --flaw {request.flaw}" if request.flaw else title
    return RunInfo(
        run=run.token,
        target=name,
        version="running" if request.url else "unknown",
        routerspec=__version__,
        command=request.command,
        seed=request.seed,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        promises=request.target.promises,
        routes=request.target.route_infos(),
        spec=request.spec,
        selected=request.checks,
        not_applicable=_not_applicable(facts_of(request.target)),
        known=dict(request.target.known),
        instances={name: count for name, count in request.target.instances.items() if count > 1},
    )


def facts_of(target: Target) -> TargetFacts:
    """What checks may ask of a target before it is verified."""
    return TargetFacts(
        promises=target.promises,
        is_started=target.start is not None,
        placeholders=frozenset(name for name in PLACEHOLDERS if target.uses(name)),
        instances=target.instances,
        replicas=target.replicas,
        services=tuple(service.name for service in target.services),
        has_fallbacks=any(route.fallbacks for route in target.routes),
    )


def _not_applicable(facts: TargetFacts) -> dict[str, str]:
    """What this target, or this way of reaching it, cannot have judged."""
    reasons = {}
    for check in REGISTRY.values():
        setting = SPECIAL[check.start].sets if check.start else ""
        reason = check.needs_target(facts) or (facts.cannot_set(setting) if setting else "")
        if not facts.is_started and facts.replicas > 1:
            reason = reason or _alone(check)
        if reason:
            reasons[check.id] = reason
    return reasons


def _alone(check: Check) -> str:
    """Why it is not judged of replicas that run already; empty: it is about them."""
    if {*check.played} & {*WITH_REPLICAS} - SUPPORT:
        return ""
    return "attached replicas are judged together: attach to one of them alone for the rest"


def _starts(
    request: VerifyRequest, info: RunInfo, checks: tuple[str, ...], *, second: bool = False
) -> list[StartPlan]:
    if request.only_smoke:
        lists = ("smoke-list",) if request.target.promises.model_list else ()
        scenarios = ("smoke", *lists, "idle", "smoke-burst")
        several = request.target.replicas > 1
        return [StartPlan(name="smoke", scenarios=scenarios, replicas=several, alone=True)]
    applicable = [
        REGISTRY[name]
        for name in checks
        if name not in info.not_applicable and not REGISTRY[name].needs(request.target.promises)
    ]
    return (again if second else plan_starts)(request.target, applicable)


def _play_all(run: Run, info: RunInfo, starts: list[StartPlan]) -> RunInfo:
    """Play every start, in parallel where they may be; run.json lists them first."""
    info = msgspec.structs.replace(info, starts=(*info.starts, *(s.name for s in starts)))
    run.progress.planned(starts, run.request.checks)
    for start in starts:
        prepare(run, start)
    run.folder.write_info(info)
    versions: list[str] = []
    plays: list[Callable[[], None]] = [partial(play_start, run, start) for start in starts]
    if run.request.target.start is not None and info.version == UNKNOWN_VERSION:
        plays.append(lambda: versions.append(installed_version(run.request.target)))
    play_all(run.schedule, plays, partial(_give_up, run))
    fresh: list[Callable[[], None]] = [play.result for play in run.fresh_plays]
    play_all(run.schedule, fresh, partial(_give_up, run))
    if versions:
        info = msgspec.structs.replace(info, version=versions[0])
    info = _without_unable(run, info, starts)
    run.folder.write_info(info)
    return info


def _without_unable(run: Run, info: RunInfo, starts: list[StartPlan]) -> RunInfo:
    """Leave out the starts with whose settings the router cannot start, and what was not played."""
    reasons = dict(info.not_applicable)
    for check in REGISTRY.values():
        for name, reason in run.cannot_start.items():
            if check.start and name.startswith(check.start):
                reasons[check.id] = (
                    f"the router cannot start with the settings of {check.start}: {reason}"
                )
            elif not check.start and scenarios_only_on(name).issuperset(check.played):
                reasons[check.id] = (
                    f"the router cannot start without a cap: {reason} Accept an empty "
                    "{cap} in the target file, or use `routerspec bench`, which measures with "
                    "the cap."
                )
    return msgspec.structs.replace(
        info,
        starts=tuple(
            name
            for name in dict.fromkeys((*info.starts, *run.fresh))
            if name not in run.unable and (name in run.over or not run.failed_fast)
        ),
        not_applicable=reasons,
        not_played={
            start.name: start.scenarios
            for start in starts
            if run.failed_fast and start.name not in {*run.over, *run.unable}
        }
        or UNSET,
    )


def _give_up(run: Run) -> None:
    run.cancelled.set()
    stop_all()  # Nobody waits for a router to become ready any more.
    end_waits()
    wait(run.fresh_plays)


@contextmanager
def _disk_named(folder: Path) -> Iterator[None]:
    """A write for which there is no room is a HarnessError that names the disk."""
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise HarnessError(
            f"The disk of {folder} is full ({error.strerror}): make room there, or name another "
            "folder with --runs."
        ) from error


@contextmanager
def _stopped_by_signals(run: Run) -> Iterator[None]:
    """SIGTERM and SIGHUP end a run like Ctrl-C: all child processes are stopped.

    A second signal does not end that: it kills at once what the first one is stopping. A SIGHUP or
    SIGINT that is ignored stays ignored, as ``nohup`` wants it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        run.cancelled.set()
        if is_first_signal():
            raise KeyboardInterrupt

    ending = [n for n in _ENDING if n == signal.SIGTERM or signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in ending}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
