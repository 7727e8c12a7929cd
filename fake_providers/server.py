"""The process: providers and control API in one event loop, from bound sockets to the footer.

Decides how the process begins (bind, ledger, listen, announce) and ends (record what is open,
footer, reset every connection). Refuses to know what is served.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from fake_providers.calls.admission import Desk
from fake_providers.calls.host_guard import HostGuard
from fake_providers.calls.provider import Provider, Stage
from fake_providers.calls.recorder import Recorder
from fake_providers.calls.stalls import beat
from fake_providers.control.api import control_app
from fake_providers.control.server import ControlServer
from fake_providers.http.deadlines import Deadlines
from fake_providers.http.exchange import reset
from fake_providers.http.ports import StartFailed, allow_many_connections, bind, url_of
from fake_providers.http.protocol import HttpProtocol, Service
from fake_providers.http.slow_clients import READ_TIMEOUT_S, enforce_timeouts
from fake_providers.ollama.dialect import Ollama
from fake_providers.openai.dialect import OpenAI
from fake_providers.pacing.profiles import Profile
from fake_providers.pacing.rate_limits import RateLimits
from fake_providers.pacing.scheduler import (
    KEEP_ALIVE_NS,
    MOST_LOADED,
    MOST_QUEUED,
    Engine,
    QueuePolicy,
)
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.records.clock import Clock
from fake_providers.records.ledger import Ledger, LedgerError

BACKLOG: Final = 4096
COLLECT_AFTER: Final = 20_000
"""Objects made and not freed. Requests leave hardly any rings behind, and looking for them after
each 700, as Python does by itself, takes a twentieth of the processor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the command line says. Port 0 is a free port."""

    host: str = "127.0.0.1"
    openai_port: int = 8001
    ollama_port: int = 11434
    control_port: int = 8002
    ledger: Path | None = None
    run: str = ""
    announce: Path | None = None
    default: Behaviour = field(default_factory=Behaviour)
    exit_with_stdin: bool = False
    seed: int | None = None
    profiles: tuple[Profile, ...] = ()
    """At most one for each provider; a provider without one is never slow."""
    time_scale: float = 1.0
    slots: int | None = None
    queue: QueuePolicy = "as_coded"
    most_queued: int = MOST_QUEUED
    most_loaded: int = MOST_LOADED
    keep_alive_ns: int = KEEP_ALIVE_NS
    draws_lengths: bool = True
    requests: int | None = None
    """So many a minute may be asked of each model of the OpenAI fake; None: any number."""
    tokens: int | None = None
    read_timeout_s: float = READ_TIMEOUT_S


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """The fastest loop that is installed: uvloop, or asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def run(settings: Settings, on_listening: Callable[[Mapping[str, str]], None] | None = None) -> int:
    """Serve until stopped. Returns the exit status. Raises StartFailed.

    ``on_listening`` is called once with the URL of each port, by name.
    """
    allow_many_connections()
    ports = {
        "openai": settings.openai_port,
        "ollama": settings.ollama_port,
        "control": settings.control_port,
    }
    sockets = bind(settings.host, ports)
    try:
        ledger = _open_ledger(settings)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_serve(settings, sockets, ledger, on_listening))
    finally:
        for one in sockets.values():
            one.close()


async def _serve(
    settings: Settings,
    sockets: dict[str, socket.socket],
    ledger: Ledger | None,
    on_listening: Callable[[Mapping[str, str]], None] | None,
) -> int:
    stop = asyncio.Event()
    clock = Clock()
    recorder = Recorder(ledger=ledger, clock=clock, on_fault=stop.set)
    chance = random.Random(settings.seed)  # noqa: S311 - identifiers of fakes
    desks = _desks(settings, clock)
    stage = Stage(
        recorder=recorder,
        clock=clock,
        chance=chance,
        default=settings.default,
        desks=desks,
        limits=_limits(settings),
    )
    urls = {name: url_of(settings.host, one) for name, one in sockets.items()}
    services = _services(settings, stage)
    control = _control(settings, stage, urls)
    listeners = [await _listen(service, sockets[name]) for name, service in services.items()]
    serving = asyncio.create_task(control.serve(sockets=[sockets["control"]]))
    _listen_for_the_end(settings, stop)
    while not control.started:
        if serving.done():
            await serving
            raise StartFailed("The control API ended before it had begun.")
        await asyncio.sleep(0.001)
    # What was built to get here lives as long as the process: no collection looks at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)
    heart = asyncio.create_task(beat(recorder, clock))
    watch = asyncio.create_task(
        enforce_timeouts(lambda: _connections(services, control), settings.read_timeout_s)
    )
    if settings.announce is not None:
        _announce(settings.announce, urls)
    if on_listening is not None:
        on_listening(urls)
    await stop.wait()
    heart.cancel()
    watch.cancel()
    for listener in (*listeners, *control.servers):
        listener.close()
    recorder.close()
    control.should_exit = True
    await _disconnect(services)
    await serving
    if recorder.fault:
        print(recorder.fault, file=sys.stderr)  # noqa: T201 - the process's own last words
        return 1
    return 0


def _services(settings: Settings, stage: Stage) -> dict[str, Service]:
    states = stage.lists.states
    openai = OpenAI(
        clock=stage.clock,
        chance=stage.chance,
        epoch=lambda: states["openai"].epoch,
        limits=stage.limits,
    )
    desk = stage.desks.get("ollama")
    ollama = Ollama(
        clock=stage.clock,
        chance=stage.chance,
        epoch=lambda: states["ollama"].epoch,
        resident=None if desk is None else desk.resident,
        keep_alive_ns=settings.keep_alive_ns,
        most_loaded=settings.most_loaded,
    )
    deadlines = Deadlines(stage.clock)
    guards = {"ollama": HostGuard(settings.host)}
    return {
        dialect.name: Service(
            answer=Provider(dialect, stage, guard=guards.get(dialect.name)).answer,
            clock=stage.clock,
            deadlines=deadlines,
            accept_delay_s=partial(stage.accept_delay_s, dialect.name),
        )
        for dialect in (openai, ollama)
    }


async def _listen(service: Service, bound: socket.socket) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: HttpProtocol(service), sock=bound, backlog=BACKLOG)


def _control(settings: Settings, stage: Stage, urls: dict[str, str]) -> ControlServer:
    profiles = [profile.name for profile in settings.profiles]
    about = {"run": settings.run, "pid": os.getpid(), "profiles": profiles, **urls}
    del about["control"]
    app = control_app(stage, about=about, ledger=settings.ledger)
    return ControlServer(app, backlog=BACKLOG)


def _connections(services: dict[str, Service], control: ControlServer) -> Iterator[Any]:
    for service in services.values():
        yield from service.connections
    yield from control.server_state.connections


def _limits(settings: Settings) -> RateLimits | None:
    requests, tokens = settings.requests, settings.tokens
    if not (requests or tokens):
        return None
    return RateLimits(requests=requests, tokens=tokens, scale=settings.time_scale)


def _desks(settings: Settings, clock: Clock) -> dict[str, Desk]:
    desks: dict[str, Desk] = {}
    for profile in settings.profiles:
        engine = Engine(
            profile,
            slots=settings.slots,
            policy=settings.queue,
            most_queued=settings.most_queued,
            most_loaded=settings.most_loaded,
            keep_alive_ns=settings.keep_alive_ns,
        )
        assert settings.seed is not None, "whoever names a profile names a seed"
        desks[profile.provider] = Desk(
            profile=profile,
            engine=engine,
            clock=clock,
            seed=settings.seed,
            scale=settings.time_scale,
            draws_lengths=settings.draws_lengths,
        )
    return desks


async def _disconnect(services: dict[str, Service]) -> None:
    """Drop every connection of the providers, and let go what was being answered on it."""
    left = [one for service in services.values() for one in service.connections]
    for connection in left:
        reset(connection.transport)
    while any(service.connections for service in services.values()):  # noqa: ASYNC110 - a few turns
        await asyncio.sleep(0)
    await asyncio.sleep(0)


def _listen_for_the_end(settings: Settings, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if not settings.exit_with_stdin:
        return
    if sys.stdin is None:
        stop.set()
        return
    stdin = sys.stdin.fileno()

    def read() -> None:
        if not os.read(stdin, 4096):
            loop.remove_reader(stdin)
            stop.set()

    try:
        loop.add_reader(stdin, read)
    except OSError:
        # A plain file or /dev/null cannot be waited for; it has an end already.
        stop.set()


def _open_ledger(settings: Settings) -> Ledger | None:
    if settings.ledger is None:
        return None
    try:
        return Ledger(settings.ledger, role="evidence", run=settings.run, mapped=True)
    except LedgerError as error:
        raise StartFailed(str(error)) from None


def _announce(file: Path, urls: dict[str, str]) -> None:
    draft = file.with_name(file.name + ".tmp")
    draft.write_bytes(msgspec.json.encode({"pid": os.getpid(), **urls}))
    draft.replace(file)
