"""One start of the router: its processes, its load, and what happens when one of them exits.

Decides whose fault an early exit is. Refuses to know what is played, and judges nothing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import UNSET

from routerspec.errors import HarnessError, RouterspecError, TargetNotReady
from routerspec.plan import load_keys
from routerspec.plan.fresh import fresh_starts
from routerspec.plan.starts import AS_PROMISED, CREWED, SUPPORT, StartPlan, route_plans, users_for
from routerspec.processes.attached_fakes import borrow
from routerspec.processes.launch import (
    Fakes,
    Load,
    Router,
    attach,
    last_lines,
    start_fakes,
    start_load,
)
from routerspec.processes.operator import Operator
from routerspec.processes.replicas import Cluster, start_cluster
from routerspec.promises import Limits
from routerspec.records.load_plan import (
    CREW,
    DONE,
    GIVE_UP_FILE,
    GIVEN_UP,
    LIMITED,
    ROUND,
    WAITING,
    Crewed,
    LoadPlan,
    read_crewed,
)
from routerspec.records.router_process import ASK, read_ask
from routerspec.records.run import (
    PATIENT_S,
    GivenUp,
    Incident,
    RunFolder,
    Settings,
    StartInfo,
    write_private,
)
from routerspec.scrub import SECRETS
from routerspec.targets import Target
from routerspec.verify.progress import Progress
from routerspec.verify.request import VerifyRequest
from routerspec.verify.schedule import Schedule, StartWatch

_POLL_S = 0.05
_FRESH_SIDE_BY_SIDE = 64
"""Threads: the schedule decides how many are up."""
_STANDSTILL_S = 90.0
"""Longer than any client's timeout: a load that has recorded nothing for so long hangs."""
_ENDS_WITHIN_S = 3.0
_STALL = b'{"kind":"stall",'
_LIMITED_STARTS = 3
"""So many starts that showed another limit than the cap leave no doubt for the others."""
_LIMITED_AFTER_S = 45.0
"""Until then the others go on: some hold calls for so long that the limit itself is a violation."""
_PROBE_EVERY_S = 2.0
_PROBE_BYTES = 1 << 16
# Made here, before there are threads: two that decode a type for the first time at once can see
# msgspec's half-built description of it, which crashes the process.
_START_INFO = msgspec.json.Decoder(StartInfo)


@dataclass(slots=True, kw_only=True)
class Run:
    """The shared state of the starts of one run."""

    request: VerifyRequest
    folder: RunFolder
    token: str
    progress: Progress
    keys: dict[str, str]
    cancelled: threading.Event = field(default_factory=threading.Event)
    schedule: Schedule
    watches: list[StartWatch] = field(default_factory=list)
    """When each start came how far."""
    began: float = field(default_factory=time.monotonic)
    judging_s: float = 0.0
    cannot_start: dict[str, str] = field(default_factory=dict)
    """Start with special settings -> why the router did not start with them."""
    unable: list[str] = field(default_factory=list)
    """The names of all starts with which the router did not start, fresh ones among them."""
    failed_fast: bool = False
    """``--fail-fast`` ended it."""
    given_up: list[StartPlan] = field(default_factory=list)
    """Starts whose router failed: what they owe is played on fresh ones."""
    limited: list[str] = field(default_factory=list)
    """The names of those that showed another limit than the cap."""
    fresh: list[str] = field(default_factory=list)
    """The names of fresh starts."""
    fresh_plays: list[Future[None]] = field(default_factory=list)
    """Those that are played beside others, or were."""
    fresh_pool: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=_FRESH_SIDE_BY_SIDE)
    )
    preparing: threading.Lock = field(default_factory=threading.Lock)
    over: list[str] = field(default_factory=list)
    """The names of starts that were played, and whose files are closed."""
    on_over: Callable[[], None] = lambda: None
    """Called after each start, on its thread."""
    starts: int = 0
    """Number of starts so far."""

    @property
    def impatient(self) -> bool:
        """A start with settings as promised was given up."""
        return any(not start.sets and start.cap == AS_PROMISED for start in self.given_up)

    @property
    def is_limited(self) -> bool:
        """Enough starts showed another limit than the cap."""
        return len(self.limited) >= _LIMITED_STARTS

    @property
    def fails_again(self) -> bool:
        """A fresh start was given up as well: another one would be in vain."""
        return any(start.fresh_of for start in self.given_up)


@dataclass(slots=True)
class _Played:
    """How far the load of a start has come."""

    done: list[str] = field(default_factory=list)
    at: str = ""
    """The scenario whose round began last."""
    reason: str = ""
    """Why the load gave the rest up; empty: it did not."""
    limited: bool = False
    crewed: Crewed | None = None
    """The load processes beside the one that leads; None: there were none to be."""

    def left(self, start: StartPlan) -> tuple[str, ...]:
        """What was not played to its end."""
        done = {*self.done, *SUPPORT}
        return tuple(name for name in start.scenarios if name not in done)

    def given_up(self, start: StartPlan, reason: str, at: str) -> GivenUp | None:
        """The record of it; None: the router had not served before."""
        served = "smoke" not in start.scenarios or "smoke" in self.done
        left = self.left(start)
        if not served:
            return None
        return GivenUp(reason=reason, scenarios=left, at=at, limited=self.limited)


def prepare(run: Run, start: StartPlan) -> None:
    """Create the directory of a start and write its description."""
    target = run.request.target
    run.starts += 1
    info = StartInfo(
        name=start.name,
        token=f"{run.token}{run.starts}",
        attempt=start.attempt,
        settings=msgspec.structs.replace(
            Settings.as_promised(target.promises),
            cap=_cap(target, start),
            timeout_s=start.timeout_s or PATIENT_S,
            limits=_limits(target, start) or UNSET,
            replicas=target.replicas if start.replicas else 1,
        ),
        scenarios=start.scenarios,
        finished=False,
        fresh_of=start.fresh_of or UNSET,
    )
    run.folder.start(start.name)
    run.folder.write_start(info)
    run.schedule.enqueue(start)


def _limits(target: Target, start: StartPlan) -> Limits | None:
    """The promised limits, without those that are turned off on this start; None: all are."""
    promised = target.promises.limits
    if promised is None or not start.limits:
        return None

    def on(name: str, value: int | None) -> int | None:
        return value if name == start.limits or not target.uses(name) else None

    return replace(
        promised,
        requests_per_minute=on("requests_per_minute", promised.requests_per_minute),
        tokens_per_minute=on("tokens_per_minute", promised.tokens_per_minute),
        budget=on("budget", promised.budget),
    )


def _cap(target: Target, start: StartPlan) -> int | None:
    promised = target.promises.cap.limit if target.promises.cap else None
    fixed = start.cap == AS_PROMISED or target.start is None or not target.uses("cap")
    return promised if fixed or promised is None else start.cap


def play_start(run: Run, start: StartPlan) -> None:
    """One start, and where its router failed, the fresh ones for what is owed.

    Raises TargetNotReady, HarnessError.
    """
    given_up = _play(run, start)
    if given_up is None or run.cancelled.is_set():
        return
    left = ", ".join(given_up.scenarios) or "nothing is left"
    run.progress.say(f"{start.name}: given up ({given_up.reason}): {left}")
    once = start.attempt == 1 and not start.fresh_of and run.request.target.start is not None
    owing = fresh_starts(start, given_up.scenarios, together=given_up.limited) if once else []
    if given_up.limited and not run.is_limited:
        run.limited.append(start.name)
        if run.is_limited:
            left_s = _LIMITED_AFTER_S - (time.monotonic() - run.began)
            timer = threading.Timer(max(0.0, left_s), _stop_limited, (run,))
            timer.daemon = True
            timer.start()
    if run.is_limited or (start.alone and run.fails_again):
        owing = []
    run.given_up.append(start)
    if not owing:
        return
    run.progress.planned(owing, run.request.checks)
    with run.preparing:
        for fresh in owing:
            prepare(run, fresh)
            run.fresh.append(fresh.name)
    for fresh in owing:
        if start.alone:
            play_start(run, fresh)
        else:
            run.fresh_plays.append(run.fresh_pool.submit(play_start, run, fresh))


def _stop_limited(run: Run) -> None:
    """Have every start give up what is left to play: each would wait for the same limit."""
    reason = (
        "the router has another limit than the cap, for which every start would wait: shown on "
        f"{', '.join(run.limited)}"
    )
    run.progress.say(f"all starts are given up: {reason}")
    with contextlib.suppress(OSError):  # Else each gives up by itself, later.
        for folder in (run.folder.path / "starts").iterdir():
            (folder / GIVE_UP_FILE).write_text(reason, encoding="utf-8")


def _play(run: Run, start: StartPlan) -> GivenUp | None:
    """One start, from its processes to its closed files; what it gave up.

    A router that does not start with settings other than the promised ones is not at fault; nor
    does it take anything back that it does not start once more.
    """
    folder = run.folder.path / "starts" / start.name
    info = _START_INFO.decode((folder / "start.json").read_bytes())
    run.schedule.await_turn(start.name)
    if run.cancelled.is_set():
        run.schedule.over(start.name)
        return None
    watch = StartWatch(start.name, turn=time.monotonic())
    run.watches.append(watch)
    try:
        with (
            _fakes(run, info, folder) as fakes,
            _router(run, info, fakes, folder) as cluster,
        ):
            watch.up = time.monotonic()
            run.schedule.await_machine(start)
            watch.machine = time.monotonic()
            operator = Operator(cluster=cluster)
            try:
                info = _lead(run, start, info, watch, operator)
            finally:
                watch.used(fakes=fakes.child, router=cluster.first.child)
            if info.router_exit is None and (dead := died(operator)):
                info = _with_death(info, dead)
    except RouterspecError as error:
        incident = _incident("harness" if isinstance(error, HarnessError) else "router", str(error))
        info = msgspec.structs.replace(info, incidents=(*info.incidents, incident))
        as_promised = not start.sets and start.cap == AS_PROMISED
        not_ready = isinstance(error, TargetNotReady)
        if not not_ready or (as_promised and not start.fresh_of):
            raise
        run.unable.append(start.name)
        if start.fresh_of:
            return None
        run.cannot_start[start.name] = str(error).partition(" The end of ")[0]
    finally:
        watch.stopped = time.monotonic()
        run.schedule.over(start.name)
        run.progress.over(start.name)
        SECRETS.sweep(folder)
        run.folder.write_start(info)
    if not run.cancelled.is_set():
        run.over.append(start.name)
        run.on_over()
    return info.given_up or None


def _fakes(run: Run, info: StartInfo, folder: Path) -> AbstractContextManager[Fakes]:
    anthropic = run.request.target.needs_anthropic
    if run.request.fakes:
        instances = run.request.target.instances
        return borrow(run.request.fakes, folder, anthropic=anthropic, instances=instances)
    return start_fakes(
        folder,
        info.token,
        ports=run.request.ports,
        anthropic=anthropic,
        instances=run.request.target.instances,
    )


def _router(
    run: Run, info: StartInfo, fakes: Fakes, folder: Path
) -> AbstractContextManager[Cluster]:
    request = run.request
    if request.target.start is None:
        return contextlib.nullcontext(
            Cluster(
                target=request.target,
                settings=info.settings,
                fakes=fakes,
                folder=folder,
                routers=[
                    attach(url, allow_remote=request.allow_remote)
                    for url in (request.url, *request.further_urls)
                ],
            )
        )
    return start_cluster(
        request.target,
        info.settings,
        fakes,
        folder,
        keys=run.keys,
        extra_env={"ROUTER_FLAW": request.flaw} if request.flaw else {},
    )


def died(operator: Operator) -> Router | None:
    """The replica of the router that has exited although nobody asked it to."""
    return None if operator.draining else operator.cluster.exited()


def _lead(
    run: Run, start: StartPlan, info: StartInfo, watch: StartWatch, operator: Operator
) -> StartInfo:
    """Run the load to its end; the start's description with its incidents."""
    cluster = operator.cluster
    fakes = cluster.fakes
    folder = run.folder.path / "starts" / start.name
    plan = LoadPlan(
        token=info.token,
        folder=str(folder),
        # Some routers take the provider's URL from a header of each request.
        routes=route_plans(run.request.target, fakes.urls),
        headers=run.request.target.client_request_headers(fakes.urls),
        list_path=start.list_path or run.request.target.list_path,
        list_paths=run.request.target.list_paths[1:] if run.request.only_smoke else (),
        promises=run.request.target.promises,
        scenarios=start.scenarios,
        seed=run.request.seed,
        timeout_s=info.settings.timeout_s,
        load_s=run.request.load_s,
        whole_load=run.request.whole_load,
        impatient=run.impatient,
        can_restart=run.request.target.start is not None,
        attempt=start.attempt,
        cells=start.cells,
        replicas=cluster.further_urls,
        services=tuple(cluster.services),
    )
    plan_file = folder / "plan.json"
    write_private(plan_file, load_keys.encoded(plan))
    incidents: list[Incident] = []
    lists = run.request.target.promises.model_list
    standstill = Standstill(
        folder / "observations.jsonl", _STANDSTILL_S + 3 * (lists.ttl_s if lists else 0)
    )
    played = _Played()
    users, processes = _crew(run, start)
    env = load_keys.environment(run.keys)
    disk = Disk(folder)
    with start_load(
        folder,
        plan_file,
        cluster.first.url,
        users,
        fakes.access,
        env=env,
        processes=processes,
    ) as load:
        follow = partial(_follow_rounds, run, start, load, watch, played=played, operator=operator)
        listener = threading.Thread(target=follow, daemon=True)
        listener.start()
        while load.exited() is None and not run.cancelled.is_set():
            if died(operator):
                _await_exit(load, _ENDS_WITHIN_S)
                break
            if reason := disk.fault():
                incidents.append(_incident("harness", reason))
                break
            if standstill.reached():
                incidents.append(
                    _incident(
                        "harness", f"the load generator made no progress for {_STANDSTILL_S:g} s"
                    )
                )
                break
            if fault := cluster.service_fault():
                incidents.append(_incident("harness", fault))
                break
            if fakes.exited() is not None:
                incidents.append(
                    _incident("harness", f"the fakes exited with status {fakes.exited()}")
                )
                break
            time.sleep(_POLL_S)
        status = load.exited()
        watch.over = time.monotonic()
        watch.used(load=load.child)
    listener.join(timeout=1)
    if status and not died(operator):  # Else it may have been the router's death.
        incidents.append(
            _incident(
                "harness",
                f"the load generator exited with status {status}: {last_lines(load.log, 3)}",
            )
        )
    finished = status == 0 and not incidents and not run.cancelled.is_set()
    info = msgspec.structs.replace(
        _crewed(info, played.crewed, processes), finished=finished, incidents=tuple(incidents)
    )
    if dead := died(operator):
        text = f"the router exited with status {dead.exited()}"
        given_up = played.given_up(start, text, played.at)
        return _with_death(msgspec.structs.replace(info, given_up=given_up or UNSET), dead)
    if played.reason:
        at = played.at if played.at in played.left(start) else ""
        given_up = played.given_up(start, played.reason, at)
        return msgspec.structs.replace(info, given_up=given_up or UNSET)
    return info


def _crew(run: Run, start: StartPlan) -> tuple[int, int]:
    """(users, load processes beside the one that leads) of a start."""
    users = users_for(run.request.target)
    processes = run.request.load_processes if CREWED.intersection(start.scenarios) else 0
    if processes:
        users = processes * -(-users // processes)  # Each has as many as its largest share needs.
    return users, processes


def _crewed(info: StartInfo, crewed: Crewed | None, processes: int) -> StartInfo:
    """The start with the load processes whose records there are, and those that are lost."""
    if crewed is None:
        untold = "the process that led the load did not say what became of it"
        crewed = Crewed(here=(), lost=dict.fromkeys(range(1, processes + 1), untold))
    return msgspec.structs.replace(
        info, load_processes=crewed.here, lost_load_processes=crewed.lost
    )


def _with_death(info: StartInfo, router: Router) -> StartInfo:
    """The start of a router that exited by itself, with its last words."""
    status = router.exited()
    words = last_lines(router.log, 3)
    text = f"the router exited with status {status} during the load; its last output: {words}"
    return msgspec.structs.replace(
        info,
        finished=False,
        router_exit=status,
        incidents=(*info.incidents, _incident("router", text)),
    )


def _incident(whose: Literal["harness", "router"], text: str) -> Incident:
    return Incident(whose=whose, text=text, at_ns=time.monotonic_ns())


class Standstill:
    """Whether clients and conductor have recorded nothing for longer than anything may take.

    Self-reported stalls are no progress: a load that hangs reports them too.
    """

    def __init__(
        self, path: Path, after_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._after_s, self._clock = path, after_s, clock
        self._read, self._since = 0, clock()

    def reached(self) -> bool:
        """Whether it is so now."""
        if any(not line.startswith(_STALL) for line in self._new_lines()):
            self._since = self._clock()
        return self._clock() - self._since > self._after_s

    def _new_lines(self) -> list[bytes]:
        """The whole lines since the last time."""
        if not self._path.exists() or self._path.stat().st_size == self._read:
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            whole, end, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + len(end)
        return whole.split(b"\n") if end else []


class Disk:
    """Whether the disk under a folder has room: a full one looks like a load that stands still."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._probe, self._clock = folder / "disk.probe", clock
        self._next = clock() + _PROBE_EVERY_S

    def fault(self) -> str:
        """Why nothing can be written there; mostly empty. Tried now and then."""
        if self._clock() < self._next:
            return ""
        self._next = self._clock() + _PROBE_EVERY_S
        try:
            self._probe.write_bytes(b"\0" * _PROBE_BYTES)
            self._probe.unlink()
        except OSError as error:
            with contextlib.suppress(OSError):
                self._probe.unlink(missing_ok=True)  # What fits of it is needed.
            return f"the disk of {self._probe.parent} cannot be written: {error.strerror}"
        return ""


def _await_exit(load: Load, within_s: float) -> None:
    give_up = time.monotonic() + within_s
    while load.exited() is None and time.monotonic() < give_up:
        time.sleep(_POLL_S)


def _follow_rounds(
    run: Run,
    start: StartPlan,
    load: Load,
    watch: StartWatch,
    *,
    played: _Played,
    operator: Operator,
) -> None:
    """Note how far the load is, and report it to the progress; do what it asks for."""
    for line in load.stdout:
        run.schedule.up(start.name)
        what, _, text = line.strip().partition(": ")
        if what == ROUND:
            scenario = text.partition(" ")[0]
            played.at = scenario if scenario in start.scenarios else played.at
            watch.round(text)
            run.progress.playing(start.name, text)
        elif what == DONE:
            played.done.append(text)
        elif what == WAITING:
            run.progress.waiting(start.name, text)
        elif what == ASK and load.child is not None:
            reply = operator.reply_to(read_ask(text))
            load.child.give(msgspec.json.encode(reply).decode())
        elif what == CREW:
            played.crewed = read_crewed(text)
        elif what in {GIVEN_UP, LIMITED}:
            played.reason, played.limited = text, what == LIMITED
