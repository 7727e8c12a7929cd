"""What the load process that leads and its workers say to each other about rounds.

A *job* is what one round asks of all workers at once: a burst, a stampede, or the mixed load. Its
messages carry its number. Moments are those of the clock of whoever reads them.
"""

from __future__ import annotations

from typing import Any

import msgspec

from routerspec.records.observations import Outcome
from routerspec.scenarios.engine.messages import Known
from routerspec.scenarios.engine.tally import Shown


class Prepare(msgspec.Struct, frozen=True, kw_only=True, tag="prepare"):
    """Connect, and send all but the last byte of each of these requests."""

    job: int
    round: int
    gate: str = ""
    lists: tuple[int, ...] = ()
    """Numbers within the job of requests for the model list."""
    generations: tuple[tuple[int, str, str], ...] = ()
    """(number within the job, route, mode)."""
    hold: str = ""
    directives: dict[str, Any] = {}
    known: Known


class Go(msgspec.Struct, frozen=True, kw_only=True, tag="go"):
    """Send the last bytes at this moment."""

    job: int
    at_ns: int


class Mix(msgspec.Struct, frozen=True, kw_only=True, tag="mix"):
    """Have so many users make the mixed load, until it is enough, at most for so long."""

    job: int
    round: int
    users: int
    within_s: float
    known: Known


class Enough(msgspec.Struct, frozen=True, kw_only=True, tag="enough"):
    """The mixed load has shown everything."""

    job: int


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag="opened"):
    """The gate is open: no request that was refused is sent again."""

    job: int


class GiveUp(msgspec.Struct, frozen=True, kw_only=True, tag="give-up"):
    """Clients that wait for an answer wait no longer."""

    job: int
    reason: str


class Look(msgspec.Struct, frozen=True, kw_only=True, tag="look"):
    """Say whose clients wait."""

    job: int
    number: int


class Ping(msgspec.Struct, frozen=True, kw_only=True, tag="ping"):
    """Say what your clock shows."""

    number: int


class Deal(msgspec.Struct, frozen=True, kw_only=True, tag="deal"):
    """Entries of the open loop's schedule are dealt out to these workers in turn."""

    zero_ns: int
    """When the schedule begins."""
    from_s: float
    """From this moment of the schedule on."""
    hands: tuple[int, ...]


Order = Prepare | Go | Mix | Enough | Opened | GiveUp | Look | Ping | Deal


class Over(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a job is over."""

    number: int
    outcome: Outcome
    status: int | None


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """What has become of the requests of a job since the last time."""

    job: int
    poised: int
    """How many have sent all but their last byte by now, or are over."""
    sent: tuple[int, ...] = ()
    over: tuple[Over, ...] = ()


class Mixing(msgspec.Struct, frozen=True, kw_only=True, tag="mixing"):
    """What the mixed load of one worker has shown by now."""

    job: int
    shown: Shown
    longest_s: float = 0.0
    """For how long the client that waits longest has waited."""
    route: str = ""
    mode: str = ""


class Waiting(msgspec.Struct, frozen=True, kw_only=True, tag="waiting"):
    """The nonces of a job's requests that are sent in full, and whose clients wait."""

    job: int
    look: int
    nonces: tuple[int, ...]


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """Nothing of this job is left to do, and all of it is recorded."""

    job: int


class Pong(msgspec.Struct, frozen=True, kw_only=True, tag="pong"):
    """The answer to a ping."""

    number: int
    at_ns: int
    """By the clock of the one who answers."""
    clock: str
    """Which that is: ``ledger.boot_identity``."""


class Late(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that were sent late, or never."""

    requests: int = 0
    worst_ns: int = 0

    def __add__(self, other: Late) -> Late:
        return Late(
            requests=self.requests + other.requests, worst_ns=max(self.worst_ns, other.worst_ns)
        )


class Arrived(msgspec.Struct, frozen=True, kw_only=True, tag="arrived"):
    """The requests of an open loop so far."""

    due: int = 0
    never: int = 0
    """Late and never sent."""
    waiting: int = 0
    short: Late = Late()
    """For want of a free user."""
    slow: Late = Late()
    """With users free."""

    def __add__(self, other: Arrived) -> Arrived:
        return Arrived(
            due=self.due + other.due,
            never=self.never + other.never,
            waiting=self.waiting + other.waiting,
            short=self.short + other.short,
            slow=self.slow + other.slow,
        )


Report = Progress | Mixing | Arrived | Waiting | Done | Pong

encode = msgspec.msgpack.Encoder().encode
_ORDERS = msgspec.msgpack.Decoder(Order)
_REPORTS = msgspec.msgpack.Decoder(Report)


def read_order(message: bytes) -> Order:
    """Raises msgspec.DecodeError where it is none."""
    return _ORDERS.decode(message)


def read_report(message: bytes) -> Report:
    """Raises msgspec.DecodeError where it is none."""
    return _REPORTS.decode(message)
