"""Stories of a route whose provider fails, and of the fallback that serves it."""

from __future__ import annotations

from typing import Any, Literal

from fake_providers.records.evidence import Call
from routerspec.limits import REQUESTS_TO_RETURN
from routerspec.promises import Failover, Promises
from routerspec.records.run import RouteInfo
from tests.corpus.builder import CAP, LIMIT, Start, request_of, response_of
from tests.corpus.registry import Story, bad, good
from tests.corpus.stories.faulty_providers import begun, cut_short, ended
from tests.corpus.stories.slots import warmed

FAILOVER = Failover(within_s=1.0, attempts=2, on=("5xx",))
PROMISES = Promises(cap=CAP, failover=FAILOVER, recovery_s=1.0)
FALLBACK = "fake-other"
ROUTES = (
    RouteInfo(
        name="openai",
        front="openai",
        modes=("chat", "stream"),
        implied=False,
        provider="openai",
        fallbacks=(("ollama", FALLBACK),),
    ),
)
FIELDS: dict[str, Any] = {"promises": PROMISES, "routes": ROUTES}
CHECKS = (
    "failover/served",
    "failover/asked",
    "failover/one-answer",
    "failover/attempts",
    "failover/permit",
    "failover/model",
    "failover/client-errors",
    "failover/returns",
    "failover/client-left",
)
FAILING = "5xx: openai"
Mode = Literal["chat", "stream"]


def smoked(start: Start, at: float = 0.0) -> None:
    """One good request of each mode: the route is one call a request."""
    for number, mode in enumerate(("chat", "stream")):
        begin = at + 0.1 * number
        played = start.round("smoke", begin, begin + 0.09, route="openai", mode=mode, part="route")
        start.exchange(played, sent=begin + 0.01, end=begin + 0.08, mode=mode)


def failed_call(start: Start, nonce: int, at: float, **fields: Any) -> Call:
    """A call that its provider answers with 503."""
    defaults: dict[str, Any] = {"read": at, "end": at + 0.02, "status": 503, "body": "0f"}
    return start.call(nonce, **defaults | fields)


def other_call(start: Start, nonce: int, at: float, **fields: Any) -> Call:
    """A call at the fallback."""
    defaults: dict[str, Any] = {
        "read": at,
        "end": at + 0.02,
        "provider": "ollama",
        "model": FALLBACK,
    }
    return start.call(nonce, **defaults | fields)


def failed_over(
    start: Start,
    round_: int,
    at: float,
    *,
    others: int = 1,
    waits: float = 0.0,
    model: str = FALLBACK,
    mode: Mode = "chat",
    **client: Any,
) -> int:
    """A request that fails at its provider, ``waits``, and is served by the fallback; its nonce.

    ``others``: how many calls there.
    """
    nonce = start.nonce()
    failed_call(start, nonce, at + 0.01, stream=mode == "stream")
    again = at + 0.05 + waits
    made = [
        other_call(start, nonce, again + 0.03 * n, model=model, stream=mode == "stream")
        for n in range(others)
    ]
    fields: dict[str, Any] = {"text": start.whole(nonce, made[-1]) if made else "", "mode": mode}
    if not made:
        fields |= {"outcome": "refused", "status": 502}
    end = again + 0.03 * others + 0.01
    start.client(nonce, round_, sent=at, end=end, **fields | client)
    return nonce


def faulty(start: Start, at: float, *, count: int = 3, part: str = FAILING, **fields: Any) -> None:
    """The route's provider fails while the fallback is well, then it serves again."""
    before = start.round("failover", at, at + 0.4, route="openai", part="before")
    start.exchange(before, sent=at + 0.1, end=at + 0.2)
    played = start.round("failover", at + 0.5, at + 8, route="openai", part=part)
    for number in range(count):
        failed_over(start, played, at + 0.6 + 2 * number, **fields)
    after = start.round("failover", at + 8.1, at + 9.9, route="openai", part="after 5xx: openai")
    start.exchange(after, sent=at + 9.2, end=at + 9.4)


def flapped(start: Start, at: float, *, returns: bool = True) -> None:
    """It fails and is well by turns; then requests until it is asked again, or not."""
    name = "failover-flapping"
    before = start.round(name, at, at + 0.4, route="openai", part="before")
    start.exchange(before, sent=at + 0.1, end=at + 0.2)
    played = start.round(name, at + 0.5, at + 0.9, route="openai", part=FAILING)
    failed_over(start, played, at + 0.6)
    after = start.round(name, at + 1, at + 9, route="openai", part="after flapping: openai")
    if returns:
        start.exchange(after, sent=at + 2.2, end=at + 2.3)
        return
    for number in range(2 * REQUESTS_TO_RETURN):
        start.exchange(
            after,
            sent=at + 4.2 + 0.1 * number,
            end=at + 4.25 + 0.1 * number,
            provider="ollama",
            route="openai",
        )


def broken_streams(start: Start, at: float, *, glued: bool = False) -> None:
    """Three streams break off after two pieces; ``glued``: another answer comes behind."""
    played = start.round(
        "failover-streams", at, at + 2, route="openai", part="a stream that breaks off: openai"
    )
    for number in range(3):
        begin = at + 0.1 + 0.5 * number
        nonce = start.nonce()
        call = cut_short(start, nonce, begin + 0.01, ended_by="cut")
        text = begun(nonce, call)
        how: dict[str, Any] = {"outcome": "failed", "error": "ConnectionResetError"}
        if glued:
            other = other_call(start, nonce, begin + 0.2, stream=True)
            text, how = text + start.whole(nonce, other), {"outcome": "answered"}
        fields: dict[str, Any] = {"text": text, "mode": "stream", **how}
        client = start.client(nonce, played, sent=begin, end=begin + 0.4, **fields)
        if not glued:
            ended(start, client)


def exhausted(start: Start, at: float, *, calls: int = 2) -> None:
    """Everybody fails: so many calls for one request."""
    played = start.round(
        "failover-exhausted", at, at + 1, route="openai", part="5xx: openai, ollama"
    )
    nonce = start.nonce()
    for number in range(calls):
        where = "ollama" if number else "openai"
        failed_call(start, nonce, at + 0.11 + 0.05 * number, provider=where)
    start.client(nonce, played, sent=at + 0.1, end=at + 0.6, outcome="refused", status=503)


def permits(start: Start, at: float, *, held: int = LIMIT, back: int = LIMIT) -> None:
    """Slots before, while and after requests fail over."""
    name = "after-failover"
    start.held_round(name, at, part="before")
    played = start.round(name, at + 5, at + 8, route="openai", mode="chat", part="failing")
    nonces = [start.nonce() for _ in range(held)]
    calls = []
    for number, nonce in enumerate(nonces):
        failed_call(start, nonce, at + 5.11 + 0.001 * number)
        calls.append(other_call(start, nonce, at + 5.2, end=at + 6.5, held=True))
        text = start.whole(nonce, calls[-1])
        start.client(nonce, played, sent=at + 5.1, end=at + 6.6, text=text)
    start.snapshot(played, at + 5.8, calls, nonces)
    start.snapshot(played, at + 6.1, calls, nonces)
    start.release(played, at + 6.4, "gate", held)
    cause = start.round(name, at + 9, at + 10, route="openai", mode="chat", part="cause")
    failed_over(start, cause, at + 9.1)
    warmed(start, "failover", at + 11)
    for turn in range(2):
        start.held_round(name, at + 15 + 5 * turn, held=back, part="probe")


def clients_errors(start: Start, at: float, *, asks_another: bool = False) -> None:
    """Requests that are their clients' fault, between good ones."""
    name = "failover-client-errors"
    cell: dict[str, Any] = {"route": "openai", "mode": "chat"}
    before = start.round(name, at, at + 0.5, **cell, part="before")
    start.exchange(before, sent=at + 0.1, end=at + 0.2)
    played = start.round(name, at + 1, at + 2, **cell, part="400")
    nonce = start.nonce()
    failed_call(start, nonce, at + 1.11, status=400)
    if asks_another:
        failed_call(start, nonce, at + 1.2, status=400, provider="ollama")
    start.client(nonce, played, sent=at + 1.1, end=at + 1.3, outcome="refused", status=400)
    after = start.round(name, at + 3, at + 4, **cell, part="after")
    start.exchange(after, sent=at + 3.1, end=at + 3.2)


def clients_left(start: Start, at: float, *, late: int = 0) -> None:
    """Three clients disconnect while their calls are held, which then fail; ``late``: so many are
    asked for at the fallback.
    """
    for number in range(3):
        begin = at + 3 * number
        played = start.round("failover-left", begin, begin + 2.5, route="openai", mode="chat")
        nonce = start.nonce()
        failed_call(start, nonce, begin + 0.11, end=begin + 1.5, held=True)
        if number < late:
            failed_call(start, nonce, begin + 1.6, provider="ollama")
        start.client(
            nonce,
            played,
            sent=begin + 0.1,
            end=begin + 0.31,
            outcome="hung_up",
            status=None,
            hang_up=begin + 0.3,
        )


def all_is_well() -> Start:
    """A router that keeps every promise of failover."""
    start = Start()
    smoked(start)
    faulty(start, 1)
    flapped(start, 12)
    broken_streams(start, 22)
    exhausted(start, 25)
    clients_errors(start, 27)
    clients_left(start, 32)
    permits(start, 45)
    return start


@good("failover-as-promised")
def as_promised() -> Story:
    return (all_is_well(),), {"selected": CHECKS, **FIELDS}


def with_transcripts(start: Start, at: float, claimed: str) -> None:
    """A request that fails over, whose answer claims to be of this model."""
    played = start.round("failover-fallback", at, at + 1, route="openai", part=FAILING)
    nonce = failed_over(start, played, at + 0.1)
    start.transcript(
        nonce,
        played,
        request_of(b'{"model":"openai/fake-chat","messages":[]}'),
        response_of(b'{"model":"%b","choices":[]}' % claimed.encode()),
    )


@good("failover-with-the-name-that-the-client-asked-for")
def asked_for() -> Story:
    start = Start()
    smoked(start)
    for number, name in enumerate(
        ("openai/fake-chat", "fake-chat", FALLBACK, f"ollama/{FALLBACK}")
    ):
        with_transcripts(start, 1 + 2 * number, name)
    return (start,), {"selected": ("failover/model",), **FIELDS}


@good("failover-from-a-closed-port")
def closed() -> Story:
    """The port of an instance leaves no record of who was refused there."""
    start = Start()
    smoked(start)
    before = start.round("failover", 1, 1.4, route="openai", part="before")
    start.exchange(before, sent=1.1, end=1.2)
    played = start.round("failover", 2, 3, route="openai", part="refused: openai")
    for number in range(3):
        nonce = start.nonce()
        call = other_call(start, nonce, 2.15 + 0.2 * number)
        start.client(
            nonce,
            played,
            sent=2.1 + 0.2 * number,
            end=2.2 + 0.2 * number,
            text=start.whole(nonce, call),
        )
    promises = Promises(failover=Failover(within_s=1.0, on=("refused",)))
    return (start,), {"selected": ("failover/served",), "promises": promises, "routes": ROUTES}


@bad("failover/served")
def unserved() -> Story:
    """The fallback answers, and the client gets the first provider's error."""
    start = Start()
    smoked(start)
    faulty(start, 1, outcome="refused", status=503, text="")
    return (start,), FIELDS


@bad("failover/asked")
def twice() -> Story:
    start = Start()
    smoked(start)
    faulty(start, 1, others=2)
    patient = Promises(failover=Failover(within_s=1.0, attempts=3, on=("5xx",)), recovery_s=1.0)
    return (start,), {**FIELDS, "promises": patient}


@bad("failover/one-answer")
def glued() -> Story:
    start = Start()
    smoked(start)
    broken_streams(start, 1, glued=True)
    return (start,), FIELDS


@bad("failover/attempts")
def too_many() -> Story:
    start = Start()
    smoked(start)
    exhausted(start, 1, calls=3)
    return (start,), FIELDS


@bad("failover/permit")
def over_the_cap() -> Story:
    start = Start()
    smoked(start)
    permits(start, 1, held=LIMIT + 1)
    return (start,), FIELDS


@bad("failover/model")
def of_the_first() -> Story:
    """The fallback is asked for the first provider's model."""
    start = Start()
    smoked(start)
    faulty(start, 1, model="fake-chat")
    return (start,), FIELDS


@bad("failover/client-errors")
def shared_blame() -> Story:
    start = Start()
    smoked(start)
    clients_errors(start, 1, asks_another=True)
    return (start,), FIELDS


@bad("failover/returns")
def starved() -> Story:
    start = Start()
    smoked(start)
    flapped(start, 1, returns=False)
    return (start,), FIELDS


@bad("failover/client-left")
def for_nobody() -> Story:
    start = Start()
    smoked(start)
    clients_left(start, 1, late=3)
    return (start,), FIELDS
