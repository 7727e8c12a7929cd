"""Who makes the requests of a round that many clients make at once, and when.

``OwnUsers`` are the users of this process. Where there are several load processes, the workers of
``workers.Workers`` each make a share. Scenarios do not know which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol, Unpack

import gevent
import gevent.event

from routerspec.records.load_plan import RoutePlan
from routerspec.scenarios.engine.prompt import Directives
from routerspec.scenarios.engine.rounds import ActiveRound
from routerspec.scenarios.engine.session import Session
from routerspec.scenarios.engine.tally import Tally

_CONNECTED_WITHIN_S: Final = 0.05

Client = Callable[[Session, int, float, Tally], None]
"""One client of the mixed load of a round, with its number, until (``time.monotonic``) it begins no
further request, or the tally is over."""
Cell = tuple[RoutePlan, str]
"""A route, and a mode."""


class Crew(Protocol):
    """The processes that make the requests of one start."""

    def mixed(
        self, round_: ActiveRound, users: int, until: float, tally: Tally, client: Client
    ) -> None:
        """Have ``users`` users be such clients, and wait until all have ended."""

    def lists(self, round_: ActiveRound, count: int) -> None:
        """Have so many users request the model list at one instant; returns when that was."""

    def burst(
        self,
        round_: ActiveRound,
        requests: Sequence[Cell],
        *,
        hold: str = "",
        **directives: Unpack[Directives],
    ) -> None:
        """The same with generation requests; ``hold``: see ``ActiveRound.send``."""


class OwnUsers:
    """The users of this process make all of it."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def mixed(
        self, round_: ActiveRound, users: int, until: float, tally: Tally, client: Client
    ) -> None:
        """As ``Crew`` has it."""
        round_.work(users, lambda: client(self._session, round_.number, until, tally), until)

    def lists(self, round_: ActiveRound, count: int) -> None:
        """As ``Crew`` has it."""
        with at_one_instant() as last_byte:
            for _ in range(count):
                round_.send_list(last_byte=last_byte)

    def burst(
        self,
        round_: ActiveRound,
        requests: Sequence[Cell],
        *,
        hold: str = "",
        **directives: Any,
    ) -> None:
        """As ``Crew`` has it."""
        with at_one_instant() as last_byte:
            for route, mode in requests:
                round_.send(route, mode, hold=hold, last_byte=last_byte, **directives)


@contextmanager
def at_one_instant() -> Iterator[gevent.event.Event]:
    """The requests that are sent within, with this event, are complete at one instant: its end."""
    last_byte = gevent.event.Event()
    yield last_byte
    gevent.sleep(_CONNECTED_WITHIN_S)  # All are connected and have sent all but their last byte.
    last_byte.set()
