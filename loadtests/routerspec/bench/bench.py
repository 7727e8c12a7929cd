"""Routers measured side by side in one run: all started together, taking turns with a direct
connection to the fakes.

Locust sends requests one by one, for the added latency. Then come load processes of the bench's
own, which take a fifth of its processor time per request, for what a router carries and takes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fake_providers.records import ledger
from fake_providers.records.evidence import Call, Evidence
from routerspec.bench import figures
from routerspec.bench.figures import Bench
from routerspec.bench.intervals import Interval
from routerspec.bench.processor_time import Trees, own_processors
from routerspec.bench.throughput import FIRST_NONCE, Generators, Placement, play
from routerspec.errors import HarnessError, TargetNotReady, UsageError
from routerspec.plan import load_keys
from routerspec.plan.starts import route_plans
from routerspec.processes.launch import (
    Fakes,
    Load,
    Router,
    last_lines,
    start_fakes,
    start_load,
)
from routerspec.processes.own_code import child_environment
from routerspec.processes.replicas import start_cluster
from routerspec.processes.router import installed_version, new_keys
from routerspec.promises import Promises
from routerspec.records.load_plan import FAKE_MODEL, LoadPlan, RoutePlan, WayPlan
from routerspec.records.observations import Record
from routerspec.records.run import RunFolder, Settings, new_token, write_private
from routerspec.scrub import SECRETS
from routerspec.targets import Target, read_target

ROUNDS: Final = 8

_STRAIGHT: Final = RoutePlan(
    name="straight",
    provider="openai",
    front="openai",
    path="",
    model=FAKE_MODEL,
    nonsense_model=FAKE_MODEL,
    modes=("chat", "stream"),
    implied=False,
)
_YARDSTICK: Final = """
name = "nginx-plain"
install = "apt-get install nginx"
version = { command = ["nginx", "-v"] }
[start]
command = ["nginx", "-e", "stderr", "-p", "{dir}", "-c", "{dir}/nginx.conf"]
[start.files]
"nginx.conf" = '''
daemon off;
pid nginx.pid;
error_log stderr;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4;
  scgi_temp_path t5;
  upstream fakes { server OPENAI_HOST; keepalive 128; }
  server {
    listen 127.0.0.1:{port} backlog=1024;
    location / {
      proxy_pass http://fakes; proxy_buffering off; proxy_read_timeout {timeout_s}s;
      proxy_http_version 1.1; proxy_set_header Connection "";
    }
  }
}
'''
[client]
key = "none"
[routes]
openai = "{model}"
"""
"""The least that a router can cost: nginx that forwards everything, with default settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Up:
    """A router that was started for the bench."""

    target: Target
    name: str
    version: str
    router: Router
    way: WayPlan


def bench(
    targets: Sequence[Target],
    *,
    seed: int,
    rounds: int,
    runs: Path,
    tell: Callable[[str], None],
) -> tuple[Bench, Path]:
    """Measure ``targets`` side by side; the results and the folder with their records.

    Raises UsageError, TargetNotReady or HarnessError.
    """
    for target in targets:
        _refuse(target)
    folder = RunFolder.create(runs, "bench")
    token = new_token()
    own = folder.start("bench")
    with ExitStack() as stack:
        stack.callback(SECRETS.sweep, folder.path)  # last, when nothing writes any more
        fakes = stack.enter_context(
            start_fakes(own, token, anthropic=any(t.needs_anthropic for t in targets))
        )
        up = [_start(stack, target, fakes, folder, tell) for target in targets]
        up, notes = _with_yardstick(stack, up, fakes, folder, tell)
        straight = WayPlan(name=figures.DIRECT, url=fakes.openai_url, route=_STRAIGHT, headers={})
        plan = LoadPlan(
            token=token,
            folder=str(own),
            routes=(),
            headers={},
            list_path="/v1/models",
            promises=Promises(),
            scenarios=("bench",),
            seed=seed,
            ways=(straight, *(each.way for each in up)),
            rounds=rounds,
        )
        idle_bytes = Trees({each.name: [_pid(each.router)] for each in up}).read().rss_bytes
        slices = _play_in_turn(stack, own, plan, fakes=fakes, tell=tell)
        processors = own_processors()
        placement = Placement.on(processors)
        with Generators(own, token, placement, fakes=_pid(fakes)) as generators:
            intervals = play(
                generators,
                plan.ways,
                {each.name: _pid(each.router) for each in up},
                rounds=rounds,
                seed=seed,
                tell=tell,
            )
        notes += [
            f"{each.name} answered nobody with {each.clients.number} clients, and was not loaded "
            "again."
            for each in intervals
            if each.serves_nobody
        ]
        notes += [
            f"{each.name} exited by itself with status {each.router.exited()}: {each.router.log}"
            for each in up
            if each.router.exited() is not None
        ]
    calls = _calls(own, intervals)
    versions = {figures.DIRECT: ""} | {each.name: each.version for each in up}
    rows = tuple(
        figures.row(
            name,
            version,
            slices=slices,
            calls=calls.first,
            intervals=intervals,
            seen=calls.seen,
            idle_bytes=idle_bytes.get(name),
            processors=len(processors),
        )
        for name, version in versions.items()
    )
    results = Bench(
        rows=rows,
        seed=seed,
        rounds=rounds,
        processors=len(processors),
        placement=str(placement),
        late_ms=figures.late_ms(slices, calls.first),
        notes=tuple(notes),
    )
    return results, own


def _refuse(target: Target) -> None:
    if target.start is None:
        raise UsageError(f"{target.name} has no [start]: bench starts every router itself.")
    if not any("chat" in route.modes for route in target.routes):
        raise UsageError(f"{target.name} has no route with chat: there is nothing to measure.")


def _with_yardstick(
    stack: ExitStack,
    up: list[_Up],
    fakes: Fakes,
    folder: RunFolder,
    tell: Callable[[str], None],
) -> tuple[list[_Up], list[str]]:
    """Plain nginx, where it is installed."""
    host = fakes.openai_url.removeprefix("http://")
    plain = read_target(_YARDSTICK.replace("OPENAI_HOST", host), "the yardstick")
    if not _is_installed("nginx"):
        return up, ["nginx is not installed, so it is no yardstick here: apt-get install nginx"]
    try:
        return [*up, _start(stack, plain, fakes, folder, tell)], []
    except TargetNotReady as error:
        told = " ".join(str(error).partition(" The end of ")[0].split())
        return up, [f"the yardstick is left out: {told}"]


def _is_installed(command: str) -> bool:
    return shutil.which(command, path=child_environment()["PATH"]) is not None


def _start(
    stack: ExitStack,
    target: Target,
    fakes: Fakes,
    folder: RunFolder,
    tell: Callable[[str], None],
) -> _Up:
    """Start one router as promised, but without a cap where its target has the placeholder."""
    name = target.title
    settings = Settings.as_promised(target.promises)
    if target.uses("cap"):
        settings = msgspec.structs.replace(settings, cap=None)
    keys = new_keys()
    known = {name: SECRETS.add(name, key) for name, key in keys.items()} | fakes.urls
    below = folder.start(name.replace(":", "--"))
    tell(f"starting {name}")
    router = stack.enter_context(start_cluster(target, settings, fakes, below, keys=keys)).first
    return _Up(
        target=target,
        name=name,
        version=installed_version(target),
        router=router,
        way=WayPlan(
            name=name,
            url=router.url,
            route=_route(route_plans(target, known)),
            headers=target.client_request_headers(known),
        ),
    )


def _route(routes: tuple[RoutePlan, ...]) -> RoutePlan:
    """The route that is measured: the OpenAI provider behind the OpenAI dialect, where there is."""
    able = [route for route in routes if "chat" in route.modes]
    return min(able, key=lambda route: (route.provider != "openai", route.front != "openai"))


def _play_in_turn(
    stack: ExitStack, own: Path, plan: LoadPlan, *, fakes: Fakes, tell: Callable[[str], None]
) -> dict[str, list[figures.Slice]]:
    """Have Locust send requests one by one. Raises HarnessError or TargetNotReady."""
    path = own / "plan.json"
    write_private(path, load_keys.encoded(plan))
    env = load_keys.environment({})
    load = stack.enter_context(start_load(own, path, fakes.openai_url, 1, fakes.access, env=env))
    announced = ""
    for line in load.stdout:
        number = line.strip().rpartition(" ")[2]
        if line.startswith("round: ") and number.isdecimal() and number != announced:
            announced = number
            tell(f"latency: round {int(number) + 1} of {plan.rounds}")
    status = load.child.wait(10.0) if load.child else None
    if status:
        raise HarnessError(
            f"The load generator exited with status {status}: {last_lines(load.log, 3)}"
        )
    observed = ledger.read_records(own / "observations.jsonl", Record)
    if observed.fault:
        raise HarnessError(f"The observations of the clients are incomplete: {observed.fault}.")
    slices = figures.slices_of(observed.records)
    if not slices:
        raise TargetNotReady(
            f"Nothing was measured: {last_lines(load.log, 1)}. Next: "
            "`routerspec smoke TARGET` tells more of that router."
        )
    return slices


def _pid(running: Fakes | Load | Router) -> int:
    assert running.child is not None
    return running.child.pid


class _Calls:
    """The calls of a ledger that matter: those of requests in turn, and which refused requests of
    the throughput a provider had all the same. Of the others there may be millions.
    """

    def __init__(self, refused: Iterable[int]) -> None:
        self.first: dict[int, Call] = {}
        """Nonce -> its first call, of the requests in turn."""
        self.seen: set[int] = set()
        self._refused = frozenset(refused)
        self._records = 0

    def __len__(self) -> int:
        return self._records

    def extend(self, records: list[Evidence]) -> None:
        self._records += len(records)
        for record in records:
            if not isinstance(record, Call) or len(record.nonces) != 1:
                continue
            nonce = record.nonces[0]
            if nonce >= FIRST_NONCE:
                if nonce in self._refused:
                    self.seen.add(nonce)
            elif record.attempt == 1:
                self.first[nonce] = record


def _calls(own: Path, intervals: Sequence[Interval]) -> _Calls:
    calls = _Calls(nonce for each in intervals for nonce, _ in each.refused)
    evidence = ledger.read_records(own / "evidence.jsonl", Evidence, calls)
    if evidence.fault:
        raise HarnessError(f"The ledger of the fakes is incomplete: {evidence.fault}.")
    return calls
