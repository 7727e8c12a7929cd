"""Stories of several instances of a provider: who is given a call, and who is left alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any

from fake_providers.records.evidence import Call
from routerspec.limits import SESSIONS
from routerspec.promises import Balance, Promises
from tests.corpus.builder import CAP, LISTS, Start, route
from tests.corpus.registry import Story, bad, good

TWO = {"openai": 2}
POOL = ("openai", "openai-2")
FURTHER = POOL[1:]
ROUTES = (route("openai"),)
RECOVERY_S = 1.0


def promising(**balance: Any) -> Promises:
    """These promises of balance, beside the usual ones."""
    return Promises(cap=CAP, model_list=LISTS, balance=Balance(**balance), recovery_s=RECOVERY_S)


def info(**balance: Any) -> dict[str, Any]:
    return {"promises": promising(**balance), "routes": ROUTES, "instances": TWO}


ROUND_ROBIN = info(policy="round-robin")
LEAST_BUSY = info(policy="least-busy")
EJECTING = info(ejected_within=2)
STICKY = info(affinity="x-session-id")
CAPPED = info(instance_cap=1)


def asked(start: Start, number: int, at: float, names: Sequence[str], step: float = 0.01) -> float:
    """Requests one after the other, each answered by the instance of this name; when it is over."""
    for index, name in enumerate(names):
        begun = at + step * index
        start.exchange(number, sent=begun, end=begun + 0.8 * step, provider=name)
    return at + step * len(names)


def failed(start: Start, number: int, at: float, name: str) -> Call:
    """A request that this instance fails, which its client is told."""
    nonce = start.nonce()
    call = start.call(nonce, read=at + 0.001, end=at + 0.002, provider=name, status=503)
    start.client(nonce, number, sent=at, end=at + 0.004, outcome="refused", status=503)
    return call


def refused(start: Start, number: int, at: float, status: int = 503) -> None:
    """A request that the router refuses, with no call to any provider."""
    start.client(start.nonce(), number, sent=at, end=at + 0.004, outcome="refused", status=status)


# -- spread -------------------------------------------------------------------------------------


def spread(start: Start, names: Sequence[str], begin: float = 0.0) -> None:
    number = start.round("balance-spread", begin, begin + 5, route="openai", part="openai")
    asked(start, number, begin + 0.1, names)


@good("instances-take-turns")
def turns() -> Story:
    start = Start(further=FURTHER)
    spread(start, tuple(islice(cycle(POOL), 66)))
    return (start,), {"selected": ("balance/spread",), **ROUND_ROBIN}


@bad("balance/spread")
def the_first_alone() -> Story:
    """The second instance is there for nothing."""
    start = Start(further=FURTHER)
    spread(start, POOL[:1] * 66)
    return (start,), ROUND_ROBIN


def filled(start: Start, begin: float, names: Sequence[str], part: str = "fresh") -> list[Call]:
    """Calls held one by one at the instances of these names, with a snapshot after each."""
    number = start.round("balance-busy", begin, begin + 3, route="openai", part=f"openai {part}")
    calls: list[Call] = []
    nonces: list[int] = []
    for index, name in enumerate(names):
        sent = begin + 0.1 + 0.1 * index
        nonces.append(start.nonce())
        calls.append(
            start.call(nonces[-1], read=sent + 0.01, end=begin + 2, provider=name, held=True)
        )
        start.client(
            nonces[-1], number, sent=sent, end=begin + 2.1, text=start.whole(nonces[-1], calls[-1])
        )
        open_ = {each: sum(call.provider == each for call in calls) for each in POOL}
        start.snapshot(number, sent + 0.05, list(calls), nonces, settled=False, open_=open_)
    start.release(number, begin + 1.9, "gate", len(calls))
    return calls


@good("the-least-busy-is-chosen")
def least_busy() -> Story:
    start = Start(cap=4, further=FURTHER)
    for begin in range(0, 24, 4):
        filled(start, begin, (*POOL, *reversed(POOL)))
    promises = promising(policy="least-busy")
    return (start,), {"selected": ("balance/spread",), **LEAST_BUSY, "promises": promises}


# -- a dead one ---------------------------------------------------------------------------------


def dead_beside(start: Start, later: Sequence[str], *, lists: Sequence[bool] = ()) -> None:
    """The second instance fails twice; ``later``: who is given the next requests, one fails.

    An empty name: the router refuses it. ``lists``: whether the provider is in those that follow.
    """
    number = start.round("balance-dead", 0, 1, route="openai", part="openai before")
    asked(start, number, 0.1, POOL * 2)
    if lists:
        start.fetch(0.5, 0.51)
        start.ask_list(number, 0.5, 0.52)
    number = start.round("balance-dead", 2, 4, route="openai", part="openai dead")
    for at in (2.1, 2.12):
        asked(start, number, at, POOL[:1])
        failed(start, number, at + 0.01, "openai-2")
    for index, name in enumerate(later):
        at = 2.2 + 0.01 * index
        if not name:
            refused(start, number, at)
        elif name == "openai-2":
            failed(start, number, at, name)
        else:
            asked(start, number, at, (name,))
    if lists:
        number = start.round("balance-dead", 5, 12, route="openai", part="openai lists")
        for index, whole in enumerate(lists):
            at = 5.1 + 2.2 * index
            start.fetch(at + 0.01, at + 0.02, provider="openai-2", status=503, answered=False)
            start.ask_list(
                number, at, at + 0.05, epochs={"openai": 0} if whole else {},
                outcome="answered" if whole else "refused", status=200 if whole else 503,
            )  # fmt: skip


@good("a-dead-instance-is-left-alone")
def left_alone() -> Story:
    """One call more comes early; the list is asked for at the dead one first."""
    start = Start(further=FURTHER)
    dead_beside(start, ("openai",) * 10 + ("openai-2",) + ("openai",) * 20, lists=(True,))
    return (start,), {"selected": ("balance/dead",), **EJECTING}


@bad("balance/dead")
def asked_for_ever() -> Story:
    start = Start(further=FURTHER)
    dead_beside(start, POOL * 15)
    return (start,), EJECTING


# -- sessions -----------------------------------------------------------------------------------


def sessions(start: Start, *served: Sequence[str], count: int = SESSIONS) -> None:
    """As many sessions, by turns with requests at these instances."""
    for index, names in enumerate(islice(cycle(served), count)):
        begin = 1.0 * index
        number = start.round(
            "balance-sessions", begin, begin + 0.5, route="openai",
            part=f"openai session {index + 1}",
        )  # fmt: skip
        asked(start, number, begin + 0.1, names)


@good("sessions-stay-where-they-are")
def stay() -> Story:
    start = Start(further=FURTHER)
    sessions(start, ("openai",) * 4, ("openai-2",) * 4)
    return (start,), {"selected": ("balance/affinity",), **STICKY}


@bad("balance/affinity")
def scattered() -> Story:
    start = Start(further=FURTHER)
    sessions(start, POOL * 2)
    return (start,), STICKY


# -- caps of instances --------------------------------------------------------------------------


def beyond(start: Start, names: Sequence[str], begin: float = 0.0, part: str = "openai") -> None:
    """Five clients, whose calls are held at the instances of these names; the others wait."""
    number = start.round("balance-cap", begin, begin + 4, route="openai", part=part)
    nonces = [start.nonce() for _ in range(5)]
    calls: list[Call] = []
    for index, nonce in enumerate(nonces):
        early = index < len(names)
        call = start.call(
            nonce,
            read=begin + (0.11 if early else 2.0 + 0.1 * index),
            end=begin + (1.9 if early else 2.05 + 0.1 * index),
            provider=names[index] if early else "openai",
            held=early,
        )
        calls.append(call)
        start.client(nonce, number, sent=begin + 0.1, end=begin + 3, text=start.whole(nonce, call))
    inside = calls[: len(names)]
    open_ = {name: sum(call.provider == name for call in inside) for name in POOL}
    for at in (0.8, 1.1):
        start.snapshot(number, begin + at, inside, nonces, open_=open_)
    start.release(number, begin + 1.8, "gate", len(inside))


@good("instances-have-caps-of-their-own")
def own_caps() -> Story:
    start = Start(further=FURTHER)
    beyond(start, POOL)
    beyond(start, POOL[1:], begin=10, part="openai session")
    return (start,), {"selected": ("balance/cap",), **CAPPED}


@bad("balance/cap")
def two_at_one() -> Story:
    start = Start(further=FURTHER)
    beyond(start, ("openai", "openai"))
    return (start,), CAPPED
