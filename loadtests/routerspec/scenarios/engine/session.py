"""What the rounds of one start share: the plan, the log, the fakes, and the requests to make."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Unpack

import gevent
import gevent.queue

from fake_providers.records.evidence import Stall
from fake_providers.records.ledger import Ledger
from routerspec.plan.head import anthropic_headers, route_headers
from routerspec.plan.requests import request_body, request_path
from routerspec.processes.control import Control
from routerspec.processes.control_group import ControlGroup
from routerspec.records.load_plan import GIVE_UP_FILE, LoadPlan, RoutePlan
from routerspec.records.load_processes import before_first
from routerspec.records.observations import STREAMED
from routerspec.scenarios.engine.exchange import Exchange
from routerspec.scenarios.engine.filled import Filled
from routerspec.scenarios.engine.kept import ONE_IN, KeptConnections
from routerspec.scenarios.engine.prompt import Directives, prompt
from routerspec.scenarios.engine.raw_connection import RawConnection
from routerspec.scenarios.engine.reading import Memory
from routerspec.scenarios.engine.service import CLIENT_TIMEOUT_S, Service

_STALL_NS: Final = 10_000_000
_HEARTBEAT_S: Final = 0.01
_STALLS_KEPT: Final = 1000


class Session:
    """One start of the router, as its scenarios and their rounds see it."""

    def __init__(
        self,
        plan: LoadPlan,
        host: str,
        log: Ledger,
        report: Callable[[Exchange, str], None],
        *,
        process: int = 0,
    ) -> None:
        """``report`` is called with every finished exchange and its error (mostly empty).

        ``process``: the number of this load process, of several; 0: it leads, or is the only one.
        """
        self.plan = plan
        self.host = host
        self.hosts = (host, *plan.replicas)
        """Those of all replicas of the router."""
        self.log = log
        self.control: Control | ControlGroup = (
            ControlGroup(plan.control, plan.control_further, token=plan.control_token)
            if plan.control_further
            else Control(plan.control, token=plan.control_token)
        )
        seed = f"{plan.seed} {process}" if process else plan.seed
        self.rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self.jobs: gevent.queue.Queue[Callable[[], None]] = gevent.queue.Queue()
        """What the Locust users do next, each job in one user."""
        self.latency_s: dict[str, float] = {}
        """Route -> how long one request alone took to its provider, from the smoke round."""
        self.absent: set[tuple[str, str]] = set()
        """(route, mode) pairs that are not played: implied ones that the router turned out not to
        have, and those whose answers break HTTP."""
        self.broken: set[tuple[str, str]] = set()
        """Those of them whose answers break HTTP."""
        self.capacity = 0
        """How many calls the last probe of the slots saw let in at once; 0: there was none."""
        self.filled = Filled()
        self.service = Service(
            promises=plan.promises,
            latency_s=self.latency_s,
            look=self.control.now,
            impatient=plan.impatient,
            alone=not plan.can_restart,
            shown_elsewhere=self._shown_elsewhere,
        )
        self.kept = KeptConnections()
        self._memory = Memory()
        self._report = report
        self._nonces = self._lists = before_first(process)
        self._connections = 0
        self._stalls: deque[Stall] = deque(maxlen=_STALLS_KEPT)

    def watch_clocks(self) -> None:
        """Log how far the clocks of fakes on other hosts are from ours; runs until killed where
        there are any.
        """
        if there := self.plan.clocks or (self.control.clocks() if self.plan.control else {}):
            from routerspec.scenarios.engine import clocks  # noqa: PLC0415 - imports asyncio

            clocks.watch(there, self.log)

    def _shown_elsewhere(self) -> str:
        """Why the rest is given up, where other starts have shown it; mostly empty."""
        file = Path(self.plan.folder) / GIVE_UP_FILE
        return file.read_text(encoding="utf-8") if file.exists() else ""

    @property
    def limit(self) -> int:
        """The promised cap. Only for scenarios of a target that promises one."""
        assert self.plan.promises.cap is not None
        return self.plan.promises.cap.limit

    @property
    def ttl_s(self) -> float:
        """The promised TTL of the model list. Only where one is promised."""
        assert self.plan.promises.model_list is not None
        return self.plan.promises.model_list.ttl_s

    @property
    def replicas(self) -> int:
        """How many replicas of the router there are."""
        return len(self.hosts)

    def routes_with(self, mode: str) -> list[RoutePlan]:
        """The routes that have ``mode``, in the target's order."""
        return [route for route, its in self.all_cells() if its == mode]

    def all_cells(self) -> list[tuple[RoutePlan, str]]:
        """Every (route, mode) that the router has, in the target's order."""
        return [
            (route, mode)
            for route in self.plan.routes
            for mode in route.modes
            if (route.name, mode) not in self.absent
        ]

    def cells(self) -> list[tuple[RoutePlan, str]]:
        """Every (route, mode) whose held rounds this start plays."""
        share = self.plan.cells
        return [
            (route, mode)
            for route, mode in self.all_cells()
            if not share or f"{route.name}:{mode}" in share
        ]

    def calls_arrived(self) -> int:
        """How many calls have arrived at the fakes since this start began."""
        return sum(self.control.now().arrived.values())

    def calls_open(self) -> int:
        """How many calls are open at the fakes now, held or not."""
        return sum(self.control.now().open.values())

    def list_fetches(self) -> int:
        """How many model-list fetches the fakes have had since this start began."""
        return sum(state.fetches for state in self.control.now().lists.values())

    def generation(
        self,
        route: RoutePlan,
        mode: str,
        *,
        round_number: int,
        model: str = "",
        body: Mapping[str, Any] | None = None,
        earlier: Sequence[Mapping[str, Any]] = (),
        raw: bool = False,
        bearer: bool = False,
        hold: str = "",
        gate: str = "",
        replica: int = 1,
        **directives: Unpack[Directives],
    ) -> Exchange:
        """A generation request with a nonce of its own. Raises TypeError, see ``prompt``.

        ``body``: fields of the JSON body on top of the usual ones, or in their place. ``earlier``:
        messages before the prompt's. ``raw``: its bytes are recorded as well. ``bearer``: see
        ``route_headers``. ``hold``: where the provider holds the call, at ``gate``, until it is
        released. ``replica``: the replica of the router that it is sent to, from 1.
        """
        self._nonces += 1
        own = {"hold": hold, "gate": gate} if hold else {}
        if mode == "tools":
            own["args"] = "row"
        text = prompt(self.plan.token, self._nonces, {**own, **directives})
        return Exchange(
            host=self.hosts[replica - 1],
            replica=replica,
            method="POST",
            path=request_path(route, mode),
            headers=route_headers(route, self.plan.headers, bearer=bearer),
            body=request_body(route, mode, model or route.model, text, body or {}, earlier=earlier),
            timeout_s=CLIENT_TIMEOUT_S,
            stream=mode in STREAMED,
            run=self.plan.token,
            nonce=self._nonces,
            round=round_number,
            route=route.name,
            mode=mode,
            transcribed=raw,
            secrets=self.plan.secrets,
            memory=self._memory,
        )

    def list_request(
        self,
        *,
        round_number: int,
        model: str = "",
        path: str = "",
        at: str = "",
        looked_for: tuple[str, ...] = (),
        replica: int = 1,
    ) -> Exchange:
        """A request for the router's model list, or for one ``model`` of it, spelt ``path``.

        ``at``: the path of another list than the judged one. ``looked_for``: ids whose presence in
        the whole list is recorded. ``replica``: as in ``generation``.
        """
        self._lists += 1
        list_path = at or self.plan.list_path
        return Exchange(
            host=self.hosts[replica - 1],
            replica=replica,
            method="GET",
            path=f"{list_path}/{path}" if model else list_path,
            headers=self._list_headers,
            body=b"",
            timeout_s=CLIENT_TIMEOUT_S,
            nonce=self._lists,
            round=round_number,
            route="models",
            mode="list",
            listed_model=model,
            spelling=path,
            looked_for=looked_for,
            other_list=at,
            secrets=self.plan.secrets,
            memory=self._memory,
        )

    @property
    def _list_headers(self) -> dict[str, str]:
        """A router of one dialect alone may know its clients by their headers."""
        if {route.front for route in self.plan.routes} == {"anthropic"}:
            return anthropic_headers(self.plan.headers)
        return self.plan.headers

    def raw_connection(self, round_number: int) -> RawConnection:
        """A connection for requests in any form, whose transcripts are logged."""
        self._connections += 1
        return RawConnection(
            self.host,
            number=self._connections,
            round_number=round_number,
            hidden=self._hidden,
            log=self.log.append,
        )

    def _hidden(self, data: bytes) -> bytes:
        for name, secret in self.plan.secrets.items():
            data = data.replace(secret.encode(), b"{%b}" % name.encode())
        return data

    def kept_for(self, exchange: Exchange) -> KeptConnections | None:
        """The kept connections, for one in some requests; None for the others."""
        return self.kept if exchange.nonce % ONE_IN == 0 else None

    def make(self, exchange: Exchange) -> None:
        """Make one exchange in this greenlet, log it and report it.

        One that was lost with its kept connection is not logged: what came of it at a provider is
        nobody's, and its client goes on with another.
        """
        through = exchange.host in self.hosts
        if through:
            self.service.begins(exchange)
        exchange.run_to_end()
        try:
            if exchange.lost:
                return
            is_list = exchange.mode == "list"
            self.log.append(exchange.list_observation() if is_list else exchange.observation())
            if exchange.transcribed and not is_list:
                self.log.append(exchange.transcript())
            self._report(exchange, exchange.error)
        finally:
            if through:
                self.service.ends(exchange)
            exchange.forget()
            if exchange.killed:  # Whatever else fails: a user that Locust stops must stop.
                raise gevent.GreenletExit

    def watch_stalls(self) -> None:
        """Log each time that this process was kept from running; runs until killed."""
        while True:
            due = time.monotonic_ns() + int(_HEARTBEAT_S * 1e9)
            gevent.sleep(_HEARTBEAT_S)
            late = time.monotonic_ns() - due
            if late > _STALL_NS:
                self._stalls.append(Stall(at_ns=time.monotonic_ns(), stalled_ns=late))
                self.log.append(self._stalls[-1])

    def stalled_s(self, since_ns: int) -> float:
        """The longest stall of this process that was not over at ``since_ns``; 0 for none."""
        return max((s.stalled_ns for s in self._stalls if s.at_ns >= since_ns), default=0) / 1e9
