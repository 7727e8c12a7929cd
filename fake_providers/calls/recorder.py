"""The recorder: what is open now, the account of it, and a record of each request at its end.

A record is written in the same step in which the end is stamped, before anything else can happen
in this process.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fake_providers.calls.attempts import Attempts
from fake_providers.calls.metrics import Metrics
from fake_providers.calls.transcribed import Transcribed
from fake_providers.http.exchange import Exchange
from fake_providers.pacing.pace import Pace
from fake_providers.records.clock import Clock
from fake_providers.records.evidence import (
    Call,
    ControlCall,
    EndedBy,
    Family,
    Footer,
    ListFetch,
    Stall,
    TokenCount,
)
from fake_providers.records.ledger import Ledger, LedgerError

PROVIDERS = ("openai", "ollama")
"""Those that every process serves."""
MAX_REFUSED = 1000
"""Refused control calls that are recorded one by one; further ones are counted."""


class _Open(msgspec.Struct, kw_only=True, eq=False):
    """A request between its arrival and its record, which is made of its attributes."""

    exchange: Exchange
    inner_end_ns: int = 0
    outer_end_ns: int = 0
    canaries: tuple[str, ...] = ()

    @property
    def status(self) -> int | None:
        """The status sent; None: no head was sent."""
        return self.exchange.status

    @property
    def sent_bytes(self) -> int:
        """Bytes of the body sent."""
        return self.exchange.sent_bytes

    @property
    def peer_closed_ns(self) -> int | None:
        """When the peer disconnected, if it did before the end."""
        return self.exchange.peer_closed_ns


class OpenCall(_Open, kw_only=True, eq=False):
    """A generation call that is not answered yet: see ``evidence.Call`` for its attributes."""

    provider: str
    call: int
    route: str
    family: Family
    model: str
    stream: bool
    run: str
    nonces: tuple[int, ...]
    body_hash: str
    attempt: int
    gate: str
    accepted_ns: int
    read_ns: int
    held_at: str = ""
    held_ns: int | None = None
    let_go_ns: int | None = None
    head_ns: int | None = None
    first_ns: int | None = None
    pieces: int = 0
    finished: bool = False
    late_ns: int = 0
    ended_by: EndedBy = "fake"
    end_visible_ns: int | None = None
    """From here on the router could see that the exchange is over or has failed."""
    pace: Pace | None = None
    """Set by a latency profile."""
    transcript: Transcribed | None = None
    """Set where its bytes are recorded as well."""


class OpenFetch(_Open, kw_only=True, eq=False):
    """A fetch of a model list that is not answered yet: see ``evidence.ListFetch``."""

    provider: str
    fetch: int
    route: str
    epoch: int
    read_ns: int
    held: bool
    released: bool = False
    answered: bool = False


class Recorder:
    """All open requests, and the ledger. Without one nothing is written, but all is counted."""

    def __init__(
        self,
        *,
        ledger: Ledger | None,
        clock: Clock,
        on_ledger_error: Callable[[], None],
        providers: tuple[str, ...] = PROVIDERS,
    ) -> None:
        """``providers``: the names of those that are served."""
        self.providers = providers
        self._ledger = ledger
        self._clock = clock
        self._on_fault = on_ledger_error
        self._attempts = Attempts()
        self._since_ns = 0
        self._open_now = 0
        self._peak_open = 0
        self._open_ns = 0
        self._closed = False
        self._control_changes = 0
        self._control_refused = 0
        self.calls: dict[OpenCall, None] = {}
        self.fetches: dict[OpenFetch, None] = {}
        self.metrics = Metrics(providers)
        self.open = dict.fromkeys(providers, 0)
        self.arrived = dict.fromkeys(providers, 0)
        self.fetched = dict.fromkeys(providers, 0)
        self.answered = dict.fromkeys(providers, 0)
        self.last_answered_ns: dict[str, int | None] = dict.fromkeys(providers)
        self.counted: dict[str, int] = {}
        """Token counts, by provider that has them."""
        self.last_arrival_ns: int | None = None
        self.stalled_ns = 0
        self.ledger_error = ""
        """Why the ledger cannot be written; empty while it can."""

    def next_call(self, provider: str) -> int:
        """The number of the call that arrives now."""
        self.arrived[provider] += 1
        return self.arrived[provider]

    def next_fetch(self, provider: str) -> int:
        """The number of the list fetch that arrives now."""
        self.fetched[provider] += 1
        return self.fetched[provider]

    def attempt(self, route: str, body_hash: str) -> int:
        """1 + the number of earlier calls with this route and body (see ``Attempts``).

        The body carries run and nonces, so its hash stands for them.
        """
        return self._attempts.count(route, body_hash)

    def begin(self, call: OpenCall) -> None:
        """Count ``call`` as open since its ``read_ns``."""
        self.calls[call] = None
        self.open[call.provider] += 1
        self.last_arrival_ns = call.read_ns
        self.metrics.begin(call.provider, call.route, call.model)
        self._count_open(call.read_ns, 1)

    def end(
        self, call: OpenCall, ended_by: EndedBy, *, inner_end_ns: int, outer_end_ns: int
    ) -> None:
        """Record the end of ``call``. No effect on one that is recorded already."""
        if call not in self.calls:
            return
        if call.end_visible_ns is not None:
            inner_end_ns = min(inner_end_ns, call.end_visible_ns)
        call.ended_by, call.inner_end_ns, call.outer_end_ns = ended_by, inner_end_ns, outer_end_ns
        del self.calls[call]
        self.open[call.provider] -= 1
        self.metrics.end(call.provider, call.route, call.model, call.status, ended_by)
        self._count_open(outer_end_ns, -1)
        self._write(msgspec.convert(call, Call, from_attributes=True))
        if call.transcript is not None:
            self._write(call.transcript.record(call.provider, call.call))

    def begin_fetch(self, fetch: OpenFetch) -> None:
        """Count ``fetch`` as open."""
        self.fetches[fetch] = None

    def end_fetch(
        self, fetch: OpenFetch, *, inner_end_ns: int, outer_end_ns: int, answered: bool
    ) -> None:
        """Record the end of ``fetch``. No effect on one that is recorded already."""
        if fetch not in self.fetches:
            return
        fetch.answered, fetch.inner_end_ns, fetch.outer_end_ns = (
            answered,
            inner_end_ns,
            outer_end_ns,
        )
        del self.fetches[fetch]
        if answered:
            self.answered[fetch.provider] += 1
            self.last_answered_ns[fetch.provider] = outer_end_ns
        ended_by = "fake" if answered else "peer" if fetch.exchange.disconnected else "shutdown"
        self.metrics.fetches[fetch.provider, fetch.route, fetch.status, ended_by] += 1
        self._write(msgspec.convert(fetch, ListFetch, from_attributes=True))

    def record_count(self, count: TokenCount) -> None:
        """Record that a token count was answered."""
        self.counted[count.provider] = count.count
        self.metrics.token_counts[count.provider, count.route, count.status] += 1
        self._write(count)

    def record_stall(self, stall: Stall) -> None:
        """Record that this process was kept from running."""
        self.stalled_ns = max(self.stalled_ns, stall.stalled_ns)
        self._write(stall)

    def record_control(self, call: ControlCall) -> None:
        """Record that a control call changed something, or was refused."""
        if call.refused:
            self._control_refused += 1
            if self._control_refused > MAX_REFUSED:
                return
        else:
            self._control_changes += 1
        self._write(call)

    @property
    def closed(self) -> bool:
        """The footer is written: nothing more can be recorded."""
        return self._closed

    def close(self) -> None:
        """Record open requests as ended by the shutdown, and write the footer."""
        if self._closed:
            return
        for call in tuple(self.calls):
            now = self._clock.stamp()
            self.end(call, "shutdown", inner_end_ns=now, outer_end_ns=now)
        for fetch in tuple(self.fetches):
            now = self._clock.stamp()
            self.end_fetch(fetch, inner_end_ns=now, outer_end_ns=now, answered=False)
        self._closed = True
        if self._ledger is None or self.ledger_error:
            return
        try:
            self._ledger.close(self.account())
        except LedgerError as error:
            self.ledger_error = str(error)

    @property
    def written(self) -> int:
        """Bytes of the ledger so far; its file may be longer."""
        return 0 if self._ledger is None else self._ledger.length

    def footer(self) -> Footer | None:
        """The footer of a copy taken now; None while a request is open, or without a ledger."""
        if self._ledger is None or self.calls or self.fetches:
            return None
        return self._ledger.footer(self.account())

    def account(self) -> dict[str, int]:
        """The writer's own sums: see ``evidence.Footer``."""
        return {
            "calls": sum(self.arrived.values()),
            "list_fetches": sum(self.fetched.values()),
            "peak_open": self._peak_open,
            "open_ns": self._open_ns,
            "control_changes": self._control_changes,
            "control_refused": self._control_refused,
            "attempts_forgotten": self._attempts.forgotten,
        }

    def _count_open(self, at_ns: int, change: int) -> None:
        self._open_ns += self._open_now * (at_ns - self._since_ns)
        self._since_ns = at_ns
        self._open_now += change
        if self._open_now > self._peak_open:  # noqa: PLR1730 - a call costs more
            self._peak_open = self._open_now

    def _write(self, record: msgspec.Struct) -> None:
        if self._ledger is None or self._closed or self.ledger_error:
            return
        try:
            self._ledger.append(record)
        except LedgerError as error:
            self.ledger_error = str(error)
            self._on_fault()
