"""The main job: starts, scenarios, history, and only then the verdict.

Decides what runs beside what, what is played once more, and what becomes of a start that goes
wrong. Refuses to judge: it writes files, closes them, and has the judge read them.
"""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from routerspec import __version__, judge
from routerspec.checks import REGISTRY
from routerspec.errors import HarnessError, RouterspecError, UsageError
from routerspec.launch import (
    Fakes,
    Load,
    Router,
    attach,
    last_lines,
    start_fakes,
    start_load,
    start_router,
)
from routerspec.load_plan import LoadPlan
from routerspec.plan import StartPlan, again, plan_starts, route_plans, users_for
from routerspec.process import stop_all
from routerspec.report import json as report_json
from routerspec.run import RunFolder, RunInfo, Settings, StartInfo, Trouble, new_token, read_run
from routerspec.targets import Target
from routerspec.verdict import Outcome, Verdict

QUICK = ("cap/each-route", "cap/streams", "models/one-fetch")
_SIDE_BY_SIDE = 8
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_POLL_S = 0.05
_ENDS_WITHIN_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What somebody asked to have verified."""

    target: Target
    checks: tuple[str, ...]
    """Ids, in the registry's order."""
    runs: Path
    command: str
    seed: int
    flaw: str = ""
    url: str = ""
    """A router that runs already; empty: start it."""
    ports: tuple[int, int, int] = (0, 0, 0)
    """Ports of the OpenAI fake, the Ollama fake and the control API; 0: any free one."""
    load_s: float = 10.0
    only_smoke: bool = False


@dataclass(slots=True, kw_only=True)
class _Run:
    """What the starts of one run share."""

    wish: Wish
    folder: RunFolder
    token: str
    tell: Callable[[str], None]
    keys: dict[str, str]
    cancelled: threading.Event = field(default_factory=threading.Event)
    boots: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(os.cpu_count() or 1)
    )
    """Starting up is all processor: as many at once as there are processors, first come first."""
    starts: int = 0


def select(words: tuple[str, ...]) -> tuple[str, ...]:
    """Check ids for ``--only`` words: an id, a group (``cap``), or the beginning of ids.

    Raises UsageError for a word that selects nothing.
    """
    chosen: set[str] = set()
    for word in words:
        found = {name for name in REGISTRY if name == word or name.startswith(word)}
        if not found:
            raise UsageError(
                f"No check is called {word!r}. `routerspec list` shows them all; a group such as "
                "`cap` selects all of its checks."
            )
        chosen |= found
    return tuple(name for name in REGISTRY if name in chosen)


def verify(wish: Wish, tell: Callable[[str], None]) -> tuple[Verdict, Path]:
    """Make a run as wished and judge it. ``tell`` is given lines of progress.

    Raises TargetNotReady, HarnessError or UsageError; what was recorded until then is kept.
    """
    token = new_token()
    run = _Run(
        wish=wish,
        folder=RunFolder.create(wish.runs, wish.target.name),
        token=token,
        tell=tell,
        keys={name: f"rs-{name.replace('_', '-')}-{secrets.token_hex(8)}" for name in _KEYS},
    )
    info = _info(run)
    run.folder.write_info(info)
    starts = _starts(wish, info, wish.checks)
    with _stopped_by_signals(run):
        info = _play_all(run, info, starts)
        verdict = judge.judge(read_run(run.folder.path))
        unclear = tuple(
            check.id for check in verdict.checks if check.outcome is Outcome.INCONCLUSIVE
        )
        if unclear and not wish.only_smoke and wish.target.start is not None:
            tell(f"once more, by itself: {', '.join(unclear)}")
            info = _play_all(run, info, _starts(wish, info, unclear, second=True))
            verdict = judge.judge(read_run(run.folder.path))
    (run.folder.path / "verdict.json").write_text(report_json.encode(verdict) + "\n")
    return verdict, run.folder.path


_KEYS = ("client_key", "openai_key", "ollama_key")


def _info(run: _Run) -> RunInfo:
    wish = run.wish
    title = wish.target.title
    name = f"{title} --flaw {wish.flaw}" if wish.flaw else title
    return RunInfo(
        run=run.token,
        target=name,
        version="running" if wish.url else "unknown",
        routerspec=__version__,
        command=wish.command,
        seed=wish.seed,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        promises=wish.target.promises,
        routes=wish.target.route_infos(),
        selected=wish.checks,
        not_applicable=_not_applicable(wish),
        known=dict(wish.target.known),
    )


def _not_applicable(wish: Wish) -> dict[str, str]:
    """What this target, or this way of reaching it, cannot have judged."""
    reasons: dict[str, str] = {}
    if wish.target.start is None:
        reasons["models/one-fetch-cold"] = "the router was running already: its cache is not cold"
        reasons["models/one-fetch-uncapped"] = "the router was running already: its cap stays set"
    elif not wish.target.uses("cap"):
        reasons["models/one-fetch-uncapped"] = "its target file has no {cap}: the cap stays set"
    return reasons


def _starts(
    wish: Wish, info: RunInfo, checks: tuple[str, ...], *, second: bool = False
) -> list[StartPlan]:
    if wish.only_smoke:
        scenarios = {"smoke", "smoke-list"} if wish.target.promises.model_list else {"smoke"}
        return [StartPlan(name="smoke", scenarios=tuple(sorted(scenarios)), alone=True)]
    applicable = [
        name
        for name in checks
        if name not in info.not_applicable and not REGISTRY[name].needs(wish.target.promises)
    ]
    wanted = {scenario for name in applicable for scenario in REGISTRY[name].played}
    uncapped = "models/one-fetch-uncapped" in applicable
    return (again if second else plan_starts)(wish.target, wanted, uncapped=uncapped)


def _play_all(run: _Run, info: RunInfo, starts: list[StartPlan]) -> RunInfo:
    """Play every start, those that may side by side; tell run.json of them first."""
    info = msgspec.structs.replace(info, starts=(*info.starts, *(s.name for s in starts)))
    for start in starts:
        run.folder.start(start.name)
        run.folder.write_start(_start_info(run, start))
    run.folder.write_info(info)
    together = [start for start in starts if not start.alone]
    with ThreadPoolExecutor(max_workers=_SIDE_BY_SIDE) as pool:
        version = pool.submit(run.wish.target.version)
        _await([pool.submit(_play, run, start) for start in together], run)
        for start in starts:
            if start.alone:
                _await([pool.submit(_play, run, start)], run)
    if run.wish.target.start is not None:
        info = msgspec.structs.replace(info, version=version.result())
        run.folder.write_info(info)
    return info


def _await(futures: list[Future[None]], run: _Run) -> None:
    """Wait for starts; the first that raises ends the others."""
    pending = set(futures)
    try:
        while pending:
            done, pending = wait(pending, timeout=_POLL_S)
            for future in done:
                future.result()
    except BaseException:
        run.cancelled.set()
        stop_all()  # Whoever still waits for a router to come up waits no longer.
        wait(pending)
        raise


@contextmanager
def _stopped_by_signals(run: _Run) -> Iterator[None]:
    """SIGTERM and SIGHUP end a run as Ctrl-C does: nothing that was started is left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        run.cancelled.set()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start_info(run: _Run, start: StartPlan) -> StartInfo:
    promises = run.wish.target.promises
    run.starts += 1
    return StartInfo(
        name=start.name,
        token=f"{run.token}{run.starts}",
        attempt=start.attempt,
        settings=Settings(
            cap=promises.cap.limit if promises.cap and start.capped else None,
            models_ttl_s=promises.model_list.ttl_s if promises.model_list else None,
            workers=promises.workers,
        ),
        scenarios=start.scenarios,
        finished=False,
    )


def _play(run: _Run, start: StartPlan) -> None:
    """One start from its processes to its closed files. Raises TargetNotReady, HarnessError."""
    folder = run.folder.path / "starts" / start.name
    info = msgspec.json.decode((folder / "start.json").read_bytes(), type=StartInfo)
    openai_port, ollama_port, control_port = run.wish.ports
    booted = _boot(run)
    if run.cancelled.is_set():
        booted()
        return
    try:
        with (
            start_fakes(
                folder,
                info.token,
                openai_port=openai_port,
                ollama_port=ollama_port,
                control_port=control_port,
            ) as fakes,
            _router(run, info, fakes, folder) as router,
        ):
            info = _lead(run, start, info, fakes=fakes, router=router, booted=booted)
            if info.router_exit is None and router.exited() is not None:
                info = msgspec.structs.replace(info, router_exit=router.exited(), finished=False)
    except RouterspecError as error:
        trouble = _trouble("harness" if isinstance(error, HarnessError) else "router", str(error))
        info = msgspec.structs.replace(info, troubles=(*info.troubles, trouble))
        raise
    finally:
        booted()
        run.folder.write_start(info)


def _boot(run: _Run) -> Callable[[], None]:
    """Wait for a turn to start up; what is returned gives it on, however often it is called."""
    run.boots.acquire()
    given_on = threading.Event()

    def give_on() -> None:
        if not given_on.is_set():
            given_on.set()
            run.boots.release()

    return give_on


def _router(run: _Run, info: StartInfo, fakes: Fakes, folder: Path) -> Router:
    if run.wish.target.start is None:
        return attach(run.wish.url)
    extra = {"ROUTER_FLAW": run.wish.flaw} if run.wish.flaw else {}
    return start_router(
        run.wish.target, info.settings, fakes, folder, keys=run.keys, extra_env=extra
    )


def _lead(
    run: _Run,
    start: StartPlan,
    info: StartInfo,
    *,
    fakes: Fakes,
    router: Router,
    booted: Callable[[], None],
) -> StartInfo:
    """Have the load played; what the start came to, with its troubles."""
    folder = run.folder.path / "starts" / start.name
    plan = LoadPlan(
        token=info.token,
        folder=str(folder),
        control=fakes.control_url,
        routes=route_plans(run.wish.target, run.keys),
        headers=run.wish.target.client_request_headers(run.keys),
        list_path=run.wish.target.list_path,
        promises=run.wish.target.promises,
        scenarios=start.scenarios,
        seed=run.wish.seed,
        load_s=run.wish.load_s,
        cells=start.cells,
    )
    plan_file = folder / "plan.json"
    plan_file.write_bytes(msgspec.json.encode(plan))
    troubles: list[Trouble] = []
    router_exit: int | None = None
    with start_load(folder, plan_file, router.url, users_for(run.wish.target)) as load:
        listener = threading.Thread(
            target=_listen, args=(run, start.name, load, booted), daemon=True
        )
        listener.start()
        while load.exited() is None and not run.cancelled.is_set():
            if (router_exit := router.exited()) is not None:
                troubles.append(
                    _trouble(
                        "router", f"the router ended with status {router_exit} while it was needed"
                    )
                )
                _let_end(load, _ENDS_WITHIN_S)
                break
            if fakes.exited() is not None:
                troubles.append(
                    _trouble("harness", f"the fakes ended with status {fakes.exited()}")
                )
                break
            time.sleep(_POLL_S)
        status = load.exited()
    listener.join(timeout=1)
    if status:
        troubles.append(
            _trouble("harness", f"the load ended with status {status}: {last_lines(load.log, 3)}")
        )
    finished = status == 0 and not troubles and not run.cancelled.is_set()
    return msgspec.structs.replace(
        info, finished=finished, router_exit=router_exit, troubles=tuple(troubles)
    )


def _trouble(whose: Literal["harness", "router"], text: str) -> Trouble:
    return Trouble(whose=whose, text=text, at_ns=time.monotonic_ns())


def _let_end(load: Load, within_s: float) -> None:
    give_up = time.monotonic() + within_s
    while load.exited() is None and time.monotonic() < give_up:
        time.sleep(_POLL_S)


def _listen(run: _Run, name: str, load: Load, booted: Callable[[], None]) -> None:
    """Tell of each scenario as the load begins it."""
    told = ""
    for line in load.stdout:
        booted()
        _, _, label = line.strip().partition(": ")
        scenario = label.split(" ")[0]
        if line.startswith("round: ") and scenario != told:
            told = scenario
            run.tell(f"{name}: {scenario}")
