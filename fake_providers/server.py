"""The process: providers and control API in one event loop.

Start: bind the ports, create the ledger, listen, announce. Stop: record open requests, write the
footer, reset every connection.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from fake_providers.calls.admission import Admission
from fake_providers.calls.host_guard import HostGuard, on_loopback
from fake_providers.calls.model_lists import ListState
from fake_providers.calls.provider import Dialect, Provider, SharedState
from fake_providers.calls.recorder import Recorder
from fake_providers.calls.stalls import watch_for_stalls
from fake_providers.control import clock_port as clock_ports
from fake_providers.control.access import Access
from fake_providers.control.api import control_router
from fake_providers.control.routes import MAX_BODY as MAX_CONTROL_BODY
from fake_providers.http.deadlines import Deadlines
from fake_providers.http.exchange import reset_connection
from fake_providers.http.listening import Listener
from fake_providers.http.ports import StartFailed, allow_many_connections, bind, bind_udp, url_of
from fake_providers.http.protocol import HttpProtocol, Service
from fake_providers.http.slow_clients import READ_TIMEOUT_S, enforce_timeouts
from fake_providers.ollama.dialect import Ollama
from fake_providers.openai.dialect import OpenAI
from fake_providers.pacing.profiles import Profile
from fake_providers.pacing.rate_limits import RateLimits
from fake_providers.pacing.scheduler import (
    KEEP_ALIVE_NS,
    MAX_LOADED,
    MAX_QUEUED,
    QueuePolicy,
    Scheduler,
)
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.prompt.instances import base_of, name_of
from fake_providers.records.clock import Clock
from fake_providers.records.ledger import Ledger, LedgerError, boot_identity

FINISH_WITHIN_S: Final = 1.0
"""For an answer of the control API that is being sent when the process stops."""
GC_THRESHOLD: Final = 20_000
"""Allocations between collections. Requests leave hardly any reference cycles, and Python's default
of 700 costs 5 % of the processor time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The options of the command line. Port 0 picks a free port."""

    host: str = "127.0.0.1"
    openai_port: int | None = 8001
    """None: there is no such fake, as in the next two."""
    ollama_port: int | None = 11434
    anthropic_port: int | None = None
    """None: its modules are not even imported."""
    control_port: int = 8002
    instance: int = 1
    """Which instance each of its fakes is of its provider."""
    control_token: str = field(default="", repr=False)
    """That calls of the control API must carry; empty: none."""
    announces_token: bool = False
    ledger: Path | None = None
    run: str = ""
    announce: Path | None = None
    default: Behaviour = field(default_factory=Behaviour)
    exit_with_stdin: bool = False
    seed: int | None = None
    profiles: tuple[Profile, ...] = ()
    """At most one per provider; a provider without one adds no delays."""
    time_scale: float = 1.0
    slots: int | None = None
    queue: QueuePolicy = "as_coded"
    max_queued: int = MAX_QUEUED
    max_loaded: int = MAX_LOADED
    keep_alive_ns: int = KEEP_ALIVE_NS
    draws_lengths: bool = True
    requests: int | None = None
    """Requests per minute for each model of the OpenAI fake; None: unlimited."""
    tokens: int | None = None
    """Tokens per minute for each model of the OpenAI fake; None: unlimited."""
    read_timeout_s: float = READ_TIMEOUT_S


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Uvloop where it is installed, else asyncio's own loop."""
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
        "anthropic": settings.anthropic_port,
    }
    sockets = bind(settings.host, {name: port for name, port in ports.items() if port is not None})
    try:
        clock_socket = (
            None
            if on_loopback(settings.host)
            else bind_udp(settings.host, "clock", sockets["control"])
        )
        ledger = _open_ledger(settings)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(_serve(settings, sockets, clock_socket, ledger, on_listening))
    finally:
        for one in sockets.values():
            one.close()


async def _serve(
    settings: Settings,
    sockets: dict[str, socket.socket],
    clock_socket: socket.socket | None,
    ledger: Ledger | None,
    on_listening: Callable[[Mapping[str, str]], None] | None,
) -> int:
    stop = asyncio.Event()
    clock = Clock()
    recorder = Recorder(
        ledger=ledger,
        clock=clock,
        on_ledger_error=stop.set,
        providers=tuple(name_of(name, settings.instance) for name in sockets if name != "control"),
    )
    chance = random.Random(settings.seed)  # noqa: S311 - identifiers of fakes
    admissions = _admissions(settings, clock)
    shared = SharedState(
        recorder=recorder,
        clock=clock,
        chance=chance,
        default=settings.default,
        admissions=admissions,
        limits=_limits(settings),
    )
    urls = {name: url_of(settings.host, one) for name, one in sockets.items()}
    deadlines = Deadlines(clock)
    providers = _providers(settings, shared, deadlines)
    control = _control(settings, shared, deadlines, urls)
    services = {**providers, "control": control}
    listeners = {name: Listener(service, sockets[name]) for name, service in services.items()}
    for listener in listeners.values():
        await listener.start()
    shared.listeners.update(
        {name_of(name, settings.instance): listeners[name] for name in providers}
    )
    _stop_on_signals(settings, stop)
    # All objects made so far live as long as the process: exclude them from collections.
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    stalls = asyncio.create_task(watch_for_stalls(recorder, clock))
    timeouts = asyncio.create_task(
        enforce_timeouts(lambda: _connections(services.values()), settings.read_timeout_s)
    )
    clock_port = None if clock_socket is None else await clock_ports.serve(clock_socket)
    if settings.announce is not None:
        _announce(settings, urls)
    if on_listening is not None:
        on_listening(urls)
    await stop.wait()
    stalls.cancel()
    timeouts.cancel()
    if clock_port is not None:
        clock_port.close()
    for listener in listeners.values():
        listener.close()
    recorder.close()
    await _disconnect(providers.values())
    await _finish(control)
    if recorder.ledger_error:
        print(recorder.ledger_error, file=sys.stderr)  # noqa: T201 - the reason it ends
        return 1
    return 0


def _providers(settings: Settings, shared: SharedState, deadlines: Deadlines) -> dict[str, Service]:
    guards = {"ollama": HostGuard(settings.host)}
    services = {}
    for name, state in shared.lists.states.items():
        base = base_of(name)
        dialect = _dialect(base, settings, shared, state)
        dialect.name = name
        services[base] = Service(
            answer=Provider(dialect, shared, guard=guards.get(base)).answer,
            clock=shared.clock,
            deadlines=deadlines,
            accept_delay_s=partial(shared.accept_delay_s, name),
            keep_alive=shared.keep_alive,
        )
    return services


def _dialect(base: str, settings: Settings, shared: SharedState, state: ListState) -> Dialect:
    clock, chance = shared.clock, shared.chance

    def epoch() -> int:
        return state.epoch

    if base == "openai":
        return OpenAI(clock=clock, chance=chance, epoch=epoch, limits=shared.limits)
    if base == "anthropic":
        from fake_providers.anthropic.dialect import Anthropic  # noqa: PLC0415 - only where served

        return Anthropic(clock=clock, chance=chance, epoch=epoch)
    admission = shared.admissions.get(name_of(base, settings.instance))
    return Ollama(
        clock=clock,
        chance=chance,
        epoch=epoch,
        resident=None if admission is None else admission.resident,
        keep_alive_ns=settings.keep_alive_ns,
        max_loaded=settings.max_loaded,
    )


def _control(
    settings: Settings, shared: SharedState, deadlines: Deadlines, urls: dict[str, str]
) -> Service:
    profiles = [profile.name for profile in settings.profiles]
    about = {"run": settings.run, "pid": os.getpid(), "profiles": profiles, **urls}
    about |= {"instance": settings.instance} if settings.instance > 1 else {}
    if not on_loopback(settings.host):
        about["clock"] = boot_identity()
    del about["control"]
    access = Access(settings.control_token, settings.host)
    router = control_router(shared, access, about=about, ledger=settings.ledger)
    return Service(
        answer=router.answer,
        clock=shared.clock,
        deadlines=deadlines,
        accept_delay_s=lambda: 0.0,
        max_body=MAX_CONTROL_BODY,
    )


def _connections(services: Iterable[Service]) -> list[HttpProtocol]:
    return [connection for service in services for connection in service.connections]


def _limits(settings: Settings) -> RateLimits | None:
    requests, tokens = settings.requests, settings.tokens
    if not (requests or tokens):
        return None
    return RateLimits(requests=requests, tokens=tokens, scale=settings.time_scale)


def _admissions(settings: Settings, clock: Clock) -> dict[str, Admission]:
    admissions: dict[str, Admission] = {}
    for profile in settings.profiles:
        scheduler = Scheduler(
            profile,
            slots=settings.slots,
            policy=settings.queue,
            max_queued=settings.max_queued,
            max_loaded=settings.max_loaded,
            keep_alive_ns=settings.keep_alive_ns,
        )
        assert settings.seed is not None, "a profile needs a seed"
        admissions[name_of(profile.provider, settings.instance)] = Admission(
            profile=profile,
            scheduler=scheduler,
            clock=clock,
            seed=settings.seed,
            scale=settings.time_scale,
            draws_lengths=settings.draws_lengths,
        )
    return admissions


async def _disconnect(services: Iterable[Service]) -> None:
    """Reset every connection of these services, and let their coroutines end."""
    services = tuple(services)
    for connection in _connections(services):
        reset_connection(connection.transport)
    while _connections(services):  # noqa: ASYNC110 - a few turns
        await asyncio.sleep(0)
    await asyncio.sleep(0)


async def _finish(service: Service) -> None:
    """Close the connections of a service once their requests are answered, then reset the rest."""
    patience = asyncio.get_running_loop().time() + FINISH_WITHIN_S
    while service.connections and asyncio.get_running_loop().time() < patience:
        for connection in tuple(service.connections):
            if connection.exchange is None:
                connection.transport.close()
        await asyncio.sleep(0.001)
    await _disconnect([service])


def _stop_on_signals(settings: Settings, stop: asyncio.Event) -> None:
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
        # A plain file or /dev/null cannot be polled; it is at its end already.
        stop.set()


def _open_ledger(settings: Settings) -> Ledger | None:
    if settings.ledger is None:
        return None
    try:
        return Ledger(settings.ledger, role="evidence", run=settings.run, mapped=True)
    except LedgerError as error:
        raise StartFailed(str(error)) from None


def _announce(settings: Settings, urls: dict[str, str]) -> None:
    assert settings.announce is not None
    announced = {"pid": os.getpid(), **urls}
    if settings.announces_token:
        announced["token"] = settings.control_token
    draft = settings.announce.with_name(settings.announce.name + ".tmp")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    draft.write_bytes(msgspec.json.encode(announced))
    draft.replace(settings.announce)
