"""Answers per second: load processes, and intervals in which they load one router after the other.

Decides how many processes there are and where they run, when an interval begins and ends, and which
processor time belongs to it. Refuses to know what the figures mean.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from fake_providers.prompt import directives
from routerspec.bench.generator import TOKENS, Job, Tally
from routerspec.bench.intervals import LOADS, Clients, Interval
from routerspec.bench.limits import FAKES, LOAD, ROUTER
from routerspec.bench.processor_time import Trees, Usage
from routerspec.errors import HarnessError
from routerspec.plan.head import request_head, route_headers
from routerspec.plan.requests import request_body, request_path
from routerspec.processes import own_code
from routerspec.processes.child import Child, last_lines
from routerspec.records.load_plan import WayPlan
from routerspec.scrub import SECRETS

FIRST_NONCE: Final = 10**11
"""Nonces from here on are those of this load. All of them have as many digits."""
_NONCES: Final = 10**7
"""Reserved for one process and interval."""
_WARM_S: Final = 0.15
_MEASURED_S: Final = 0.5
_TAIL_S: Final = 0.05
"""Clients go on for so long, so that all are busy until the interval's end."""
_ALONE: Final = 4
"""With at least this many processors, load processes and fakes have one each."""
_MOST_PROCESSES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Processors that belong to one process each; everything else may run anywhere."""

    load: tuple[int | None, ...]
    """One for each load process; None: it shares all of them."""
    fakes: int | None

    @classmethod
    def on(cls, processors: Sequence[int]) -> Placement:
        """The placement on these: a quarter of them for the load, one for the fakes."""
        if len(processors) < _ALONE:
            return cls(load=(None,), fakes=None)
        count = min(len(processors) // _ALONE, _MOST_PROCESSES)
        return cls(load=tuple(processors[-count:]), fakes=processors[-count - 1])

    def __str__(self) -> str:
        """What shares a processor, in one sentence."""
        if self.fakes is None:
            return "1 load process; it, the fake providers and the router share all processors."
        processes = "1 load process" if len(self.load) == 1 else f"{len(self.load)} load processes"
        return (
            f"{processes} and the fake providers, each on a processor of its own as far as the "
            "router leaves it to them: it may run on all."
        )


class Generators:
    """The load processes, while it is entered."""

    def __init__(self, folder: Path, run: str, placement: Placement, *, fakes: int) -> None:
        """``folder``: of their logs. ``run``: the run's token. ``fakes``: their process."""
        self._stack = ExitStack()
        self._folder = folder
        self._run = run
        self._placement = placement
        self._fakes = fakes
        self._children: list[Child] = []
        self._answers: list[Iterator[str]] = []
        self._nonce = FIRST_NONCE

    def __enter__(self) -> Generators:
        _pin(self._fakes, self._placement.fakes)
        for number, processor in enumerate(self._placement.load, start=1):
            child = Child(
                own_code.own_python("-m", "routerspec.bench.generator"),
                env=own_code.own_environment(),
                log=self._folder / f"generator-{number}.log",
                stdin_pipe=True,
                stdout_pipe=True,
            )
            self._stack.callback(child.stop)
            _pin(child.pid, processor)
            self._children.append(child)
            self._answers.append(child.lines())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def play(self, way: WayPlan, clients: Clients, router: int | None) -> Interval:
        """Load one router for one interval. ``router``: its process; None: there is none.

        Raises HarnessError when a load process has ended.
        """
        roots = {LOAD: [child.pid for child in self._children], FAKES: [self._fakes]}
        if router is not None:
            roots[ROUTER] = [router]
        trees = Trees(roots)
        begin_ns = time.monotonic_ns()
        from_ns = begin_ns + int(_WARM_S * 1e9)
        until_ns = from_ns + int(_MEASURED_S * 1e9)
        over_ns = until_ns + int(_TAIL_S * 1e9)
        playing = []
        for number, connections in enumerate(shared(clients.number, len(self._children))):
            if connections:
                job = self._job(way, clients, connections, (from_ns, until_ns, over_ns))
                self._children[number].give(msgspec.json.encode(job).decode())
                playing.append(number)
        _sleep_until(from_ns)
        first = trees.read()
        _sleep_until(until_ns)
        last = trees.read(with_new=True)
        tallies = [self._tally(number) for number in playing]
        failed: dict[str, int] = {}
        for tally in tallies:
            for what, times in tally.failed.items():
                failed[what] = failed.get(what, 0) + times
        return Interval(
            name=way.name,
            clients=clients,
            seconds=_MEASURED_S,
            answered=sum(tally.answered for tally in tallies),
            sent=sum(tally.sent for tally in tallies),
            opened=sum(tally.opened for tally in tallies),
            refused=tuple(each for tally in tallies for each in tally.refused),
            failed=failed,
            usage=Usage.between(first, last),
            rss_bytes=last.rss_bytes.get(ROUTER, 0),
        )

    def _job(
        self, way: WayPlan, clients: Clients, connections: int, times: tuple[int, int, int]
    ) -> Job:
        nonce, self._nonce = self._nonce, self._nonce + _NONCES
        prompt = f"Repeat after me: {directives.token(self._run, nonce, tokens=TOKENS)}"
        body = request_body(way.route, "chat", way.route.model, prompt).decode()
        before, _, after = body.partition(str(nonce))
        headers = {
            name: SECRETS.fill(text) for name, text in route_headers(way.route, way.headers).items()
        }
        path, length = request_path(way.route, "chat"), len(body.encode())
        address = urlsplit(way.url)
        return Job(
            host=address.hostname or "127.0.0.1",
            port=address.port or 80,
            head=request_head("POST", way.url, path, headers, length).decode(),
            before=before,
            after=after,
            run=self._run,
            first_nonce=nonce,
            connections=connections,
            kept=clients.kept,
            from_ns=times[0],
            until_ns=times[1],
            over_ns=times[2],
        )

    def _tally(self, number: int) -> Tally:
        line = next(self._answers[number], None)
        if line is None:
            log = self._children[number].log
            raise HarnessError(f"A load process ended by itself: {last_lines(log, 3)}")
        return msgspec.json.decode(line, type=Tally)


def play(
    generators: Generators,
    ways: Sequence[WayPlan],
    routers: Mapping[str, int],
    *,
    rounds: int,
    seed: int,
    tell: Callable[[str], None],
) -> list[Interval]:
    """Every load on every way, ``rounds`` times, each time in another (seeded) order.

    ``routers``: name of a way -> its process. One that lets all clients wait until they give up is
    not loaded again: each time would take ``DRAIN_S``.
    """
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    played: list[Interval] = []
    serving = list(ways)
    for number in range(rounds):
        tell(f"throughput: round {number + 1} of {rounds}")
        for clients in LOADS:
            for way in rng.sample(serving, len(serving)):
                played.append(generators.play(way, clients, routers.get(way.name)))
                if played[-1].serves_nobody:
                    serving.remove(way)
                    tell(f"{way.name} answered nobody: it is not loaded again")
    return played


def shared(clients: int, processes: int) -> list[int]:
    """Clients of each process, as evenly as can be."""
    return [clients // processes + (number < clients % processes) for number in range(processes)]


def _pin(pid: int, processor: int | None) -> None:
    if processor is not None and hasattr(os, "sched_setaffinity"):
        with suppress(OSError):  # it may have ended by itself already
            os.sched_setaffinity(pid, {processor})


def _sleep_until(at_ns: int) -> None:
    time.sleep(max(0.0, (at_ns - time.monotonic_ns()) / 1e9))
