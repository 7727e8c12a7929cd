"""The messages between the process that leads a run and those that make requests for it.

A run has a leader (Locust's master) and load processes (its workers). They meet over Locust's own
messages, whose order is kept between two processes; one can be lost where a connection is. Decides
what is said, not how it gets there. Each message names the run, so that one of an earlier run is
known for what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeVar

import msgspec

from routerspec.records.load_plan import LoadPlan
from routerspec.scenarios.engine.session import Session


class Join(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A load process was told to start, and asks for its part. Repeated until there is a reply."""

    part: str
    """A name that this process made up for this part: there is none of a run yet."""
    version: str
    """Of routerspec."""
    host: str
    pid: int


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The reply: the load process belongs to the run from here on."""

    part: str
    run: str
    process: int
    """Its number, from 1."""
    host: str
    """Base URL of the router."""
    plan: LoadPlan
    """References in place of keys."""


class Turned(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The other reply: it has no part in the run."""

    part: str
    reason: str
    """A sentence."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader's smoke round has shown of the router."""

    latency_s: dict[str, float]
    absent: tuple[tuple[str, str], ...]
    broken: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, session: Session) -> Known:
        """What this session knows."""
        return cls(
            latency_s=dict(session.latency_s),
            absent=tuple(sorted(session.absent)),
            broken=tuple(sorted(session.broken)),
        )

    def teach(self, session: Session) -> None:
        """Let this session know it."""
        session.latency_s.update(self.latency_s)
        session.absent.update(self.absent)
        session.broken.update(self.broken)


class Mixed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From here on the users make the mixed load, in this round of the leader's."""

    run: str
    round: int
    known: Known
    paced: bool
    """The fakes have a latency profile, and no request sets its own pace."""


class Ordered(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Do a share of what a round asks of many clients at once."""

    run: str
    order: bytes
    """See ``orders.Order``."""


class Reported(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What becomes of it."""

    run: str
    process: int
    report: bytes
    """See ``orders.Report``."""


class Stop(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Stop the users, and close the file."""

    run: str


class Piece(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The next bytes of a load process's file, which is still written or closed already."""

    run: str
    process: int
    offset: int
    data: bytes


class Whole(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The file is closed, and this is all of it."""

    run: str
    process: int
    size: int
    sha256: str


class Got(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The leader has the file up to here, and wants what follows."""

    run: str
    offset: int


class Kept(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The leader has the whole file, byte for byte."""

    run: str


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The load process has no whole file to send."""

    run: str
    process: int
    reason: str
    """A clause."""


Message = (
    Join
    | Welcome
    | Turned
    | Mixed
    | Ordered
    | Reported
    | Stop
    | Piece
    | Whole
    | Got
    | Kept
    | Failed
)

_DECODER: Final = msgspec.msgpack.Decoder(Message)
M = TypeVar("M")

encode: Final = msgspec.msgpack.Encoder().encode


def decode(raw: bytes) -> Message:
    """What was sent. Raises msgspec.DecodeError for what nobody of ours sends."""
    return _DECODER.decode(raw)


class Link(Protocol):
    """The way of the messages from and to one process."""

    def send(self, message: Message, to: str = "") -> None:
        """Send to the peer with this name; empty: the only one, or all of them."""

    def on(self, kind: type[M], handle: Callable[[M, str], None]) -> None:
        """Call ``handle`` with each message of a kind, and the name of its sender; in the order in
        which they came, one at a time. A later handler replaces an earlier one.
        """


class Handlers:
    """What is to be done with each kind of message."""

    def __init__(self) -> None:
        self._of: dict[type, Callable[[Any, str], None]] = {}

    def on(self, kind: type[M], handle: Callable[[M, str], None]) -> None:
        """See ``Link.on``."""
        self._of[kind] = handle

    def handle(self, message: Message, sender: str) -> None:
        """Hand over a message; one that nobody wants now is dropped."""
        if (handle := self._of.get(type(message))) is not None:
            handle(message, sender)
