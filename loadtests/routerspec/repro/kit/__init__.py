"""What every script that shows a violation stands on, in the order in which it is written there.

``wire``, ``providers``, ``clients``, ``lab``: each uses only those before it. Python's standard
library only.
"""

from routerspec.repro.kit.clients import Client, Exchange
from routerspec.repro.kit.lab import (
    Lab,
    cannot_try,
    expire,
    fetches,
    fresh,
    full_house,
    insist,
    let_go,
    listed,
    quiet,
    reached,
    room,
    run,
    say,
    succeeds,
)
from routerspec.repro.kit.providers import Answer, Call, Provider
from routerspec.repro.kit.wire import PIECES, pieces_in

__all__ = [
    "PIECES",
    "Answer",
    "Call",
    "Client",
    "Exchange",
    "Lab",
    "Provider",
    "cannot_try",
    "expire",
    "fetches",
    "fresh",
    "full_house",
    "insist",
    "let_go",
    "listed",
    "pieces_in",
    "quiet",
    "reached",
    "room",
    "run",
    "say",
    "succeeds",
]
