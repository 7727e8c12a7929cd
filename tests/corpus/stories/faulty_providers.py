"""Stories of answers stalled, broken off, failed, and retried."""

from __future__ import annotations

from typing import Any

import msgspec

from fake_providers.records.evidence import Call
from routerspec.promises import Promises, Retries
from routerspec.records.observations import Observation
from tests.corpus.builder import CAP, LISTS, Start, maybe_ns, route
from tests.corpus.registry import Story, bad, good

RETRIES = Retries(max=1, honours_retry_after=True)
RETRYING = Promises(cap=CAP, model_list=LISTS, retries=RETRIES)
STREAMING = (route("openai", "chat", "stream"),)
SECONDS = frozenset({"held_ns", "let_go_ns", "first_ns", "head_ns", "accepted_ns"})


def changed(start: Start, record: Any, **change: Any) -> Any:
    """``record`` of ``start`` with ``change`` in it; stamps in seconds since the start began."""
    changes = {name: maybe_ns(v) if name in SECONDS else v for name, v in change.items()}
    lines = start.evidence if isinstance(record, Call) else start.observations
    place = next(index for index, line in enumerate(lines) if line is record)
    lines[place] = msgspec.structs.replace(record, **changes)
    return lines[place]


def cut_short(start: Start, nonce: int, at: float, **call: Any) -> Call:
    """A stream of ``nonce`` that its provider ended without a finish after two pieces."""
    defaults: dict[str, Any] = {"read": at, "end": at + 0.1, "first": at + 0.05, "stream": True}
    made = start.call(nonce, **defaults | {"pieces": 2} | call)
    return changed(start, made, finished=False)  # type: ignore[no-any-return]


def begun(nonce: int, call: Call) -> str:
    """The text of two pieces."""
    return "".join(f"{nonce}@{call.provider}-{call.call}#{number} " for number in range(2))


def ended(start: Start, client: Observation, **how: Any) -> Observation:
    """``client`` with another end: by default without any marker."""
    return changed(start, client, **{"finish": None, "done": False} | how)  # type: ignore[no-any-return]


# -- at rest ------------------------------------------------------------------------------------


def at_rest(
    start: Start, begin: float, *, first: float, rest: float = 2.0, name: str = "openai"
) -> int:
    """A stream that stands still for ``rest`` seconds; its client's first piece after ``first``."""
    number = start.round("hold-piece", begin, begin + rest + 0.5, route=name, mode="stream")
    nonce = start.nonce()
    call = start.call(
        nonce, read=begin + 0.1, end=begin + 0.1 + rest + 0.02, stream=True, first=begin + 0.1
    )
    changed(
        start,
        call,
        held_ns=begin + 0.1,
        let_go_ns=begin + 0.1 + rest,
        pieces=13,
        sent_bytes=11_000,
    )
    client = start.client(
        nonce,
        number,
        sent=begin,
        end=begin + rest + 0.2,
        text="~" * 8192 + " " + start.whole(nonce, call, 12),
        route=name,
        mode="stream",
    )
    changed(start, client, first_ns=begin + first)
    return nonce


@good("answers-come-out-while-they-are-made")
def pieces_in_time() -> Story:
    """A router that was late twice and then in time, and a route that asks for no stream."""
    start = Start()
    at_rest(start, 0, first=2.15)
    at_rest(start, 5, first=2.15)
    at_rest(start, 10, first=0.2, rest=0.3)
    number = start.round("hold-piece", 20, 21, route="agent", mode="stream")
    nonce = start.nonce()
    call = start.call(nonce, read=20.1, end=20.2)
    start.client(nonce, number, sent=20, end=20.4, text=start.whole(nonce, call), route="agent",
                 mode="stream")  # fmt: skip
    routes = (*STREAMING, route("agent", "stream"))
    return (start,), {"selected": ("answers/incremental",), "routes": routes}


@bad("answers/incremental")
def pieces_kept_back() -> Story:
    """Three times the first piece comes with the last."""
    start = Start()
    for begin in (0, 5, 10):
        at_rest(start, begin, first=2.15)
    return (start,), {"routes": STREAMING}


# -- broken off ---------------------------------------------------------------------------------


def broken_off(start: Start) -> int:
    return start.round("cut-stream", 0, 60)


@good("answers-broken-off-and-told-so")
def cuts_told() -> Story:
    """Everything that a sound router makes of a stream that its provider broke off."""
    start = Start()
    number = broken_off(start)

    def client(at: float, text: str, nonce: int, **fields: Any) -> Observation:
        return start.client(
            nonce, number, sent=at, end=at + 0.9, text=text, mode="stream", **fields
        )

    nonce = start.nonce()  # It just ends.
    call = cut_short(start, nonce, 1.1)
    ended(start, client(1, begun(nonce, call), nonce))
    nonce = start.nonce()  # An error event, and [DONE] after it.
    call = cut_short(start, nonce, 2.1, ended_by="cut")
    ended(start, client(2, begun(nonce, call), nonce, error="upstream failed"), done=True)
    nonce = start.nonce()  # A finish reason that says so.
    call = cut_short(start, nonce, 3.1, ended_by="cut")
    ended(start, client(3, begun(nonce, call), nonce), done=True, finish="error")
    nonce = start.nonce()  # The connection breaks as well.
    call = cut_short(start, nonce, 4.1, ended_by="cut")
    client(4, begun(nonce, call), nonce, outcome="failed")
    nonce = start.nonce()  # Cut before its first piece, and asked again.
    cut_short(start, nonce, 5.1, ended_by="cut", pieces=0)
    call = start.call(nonce, read=5.3, end=5.4, stream=True)
    client(5, start.whole(nonce, call), nonce)
    nonce = start.nonce()  # An agent's step breaks off, and its next step says how it goes on.
    first = cut_short(start, nonce, 6.1, ended_by="cut", body="01")
    call = start.call(nonce, read=6.3, end=6.4, stream=True, body="02")
    client(6, begun(nonce, first) + start.whole(nonce, call), nonce)
    nonce = start.nonce()  # Two whole answers to the same question.
    first = start.call(nonce, read=7.1, end=7.2, stream=True)
    call = start.call(nonce, read=7.3, end=7.4, stream=True)
    client(7, start.whole(nonce, first) + start.whole(nonce, call), nonce)
    nonce = start.nonce()  # A client that left.
    call = cut_short(start, nonce, 8.1)
    client(8, begun(nonce, call), nonce, outcome="hung_up", hang_up=8.8)
    selected = ("answers/cut-is-no-success", "answers/no-replay")
    return (start,), {"selected": selected, "routes": STREAMING}


@bad("answers/cut-is-no-success")
def cut_called_done() -> Story:
    """The provider ends without a finish, and the client gets one."""
    start = Start()
    number = broken_off(start)
    nonce = start.nonce()
    call = cut_short(start, nonce, 1.1)
    start.client(nonce, number, sent=1, end=2, text=begun(nonce, call), mode="stream")
    return (start,), {"routes": STREAMING}


@bad("answers/no-replay")
def replayed() -> Story:
    """The beginning of one attempt, and then all of another."""
    start = Start()
    number = broken_off(start)
    nonce = start.nonce()
    first = cut_short(start, nonce, 1.1, ended_by="cut")
    call = start.call(nonce, read=1.3, end=1.4, stream=True)
    text = begun(nonce, first) + start.whole(nonce, call)
    start.client(nonce, number, sent=1, end=2, text=text, mode="stream")
    return (start,), {"routes": STREAMING}


# -- failed -------------------------------------------------------------------------------------


def failed(start: Start, number: int, at: float, **client: Any) -> Observation:
    """A client whose provider answered 500."""
    nonce = start.nonce()
    start.call(nonce, read=at + 0.1, end=at + 0.2, status=500, pieces=0)
    fields: dict[str, Any] = {"outcome": "refused", "status": 502, "finish": None}
    unframed = client.pop("unframed_error", False)
    seen = start.client(nonce, number, sent=at, end=at + 0.3, **fields | client)
    return changed(start, seen, done=False, unframed_error=unframed)  # type: ignore[no-any-return]


@good("answers-errors-told")
def errors_told() -> Story:
    """By status, within a stream that had begun, by a broken stream; one connection is lost."""
    start = Start()
    number = start.round("upstream-error", 0, 60)
    changed(start, failed(start, number, 1), json_error=True)
    failed(start, number, 2, error='{"detail": "Bad Gateway"}')
    failed(start, number, 3, outcome="answered", status=200, mode="stream", error="it failed")
    failed(start, number, 4, outcome="failed", status=200, mode="stream", error="reset")
    failed(start, number, 5, outcome="failed", status=None, error="reset")
    nonce = start.nonce()  # Asked again, and answered.
    start.call(nonce, read=6.1, end=6.2, status=503, pieces=0)
    call = start.call(nonce, read=6.3, end=6.4)
    start.client(nonce, number, sent=6, end=6.5, text=start.whole(nonce, call))
    nonce = start.nonce()  # An agent that found its own way around a failed embedding.
    start.call(nonce, read=7.1, end=7.2, status=500, family="embeddings", pieces=0)
    call = start.call(nonce, read=7.3, end=7.4)
    start.client(nonce, number, sent=7, end=7.5, text=start.whole(nonce, call))
    selected = ("answers/error-is-error", "answers/error-is-json")
    return (start,), {"selected": selected, "routes": STREAMING}


@bad("answers/error-is-error")
def error_as_answer() -> Story:
    """The body says that it went wrong, the status does not."""
    start = Start()
    number = start.round("upstream-error", 0, 60)
    failed(start, number, 1, outcome="answered", status=200, error="it failed")
    return (start,), {}


@bad("answers/error-is-json")
def error_as_text() -> Story:
    """An error with a page of HTML."""
    start = Start()
    number = start.round("upstream-error", 0, 60)
    failed(start, number, 1, error="<html><body>502 Bad Gateway</body></html>")
    return (start,), {}


# -- asked again --------------------------------------------------------------------------------


def left(start: Start, begin: float, *, again: float | None = None, closed: bool = False) -> None:
    """A client leaves a held call; ``again``: so long after it a retry comes."""
    number = start.round("leave-before-error", begin, begin + 2)
    nonce = start.nonce()
    end = begin + 0.3 if closed else begin + 1.5
    how: dict[str, Any] = {"ended_by": "peer", "peer_closed": end, "status": None} if closed else {}
    start.call(nonce, **{"read": begin + 0.1, "end": end, "status": 503, "pieces": 0} | how)
    if again is not None:
        start.call(nonce, read=begin + 0.2 + again, end=begin + 0.3 + again, status=503, pieces=0)
    start.client(nonce, number, sent=begin, end=begin + 0.2, outcome="hung_up",
                 hang_up=begin + 0.2, status=None)  # fmt: skip


def told_to_wait(start: Start, begin: float, *, waits: float) -> None:
    """The second attempt comes ``waits`` seconds after the first one's head was about to go."""
    number = start.round("retry-after", begin, begin + 3, part="Retry-After 1")
    nonce = start.nonce()
    start.call(nonce, read=begin + 0.1, end=begin + 0.2, inner_end=begin + 0.19, status=429,
               pieces=0)  # fmt: skip
    call = start.call(nonce, read=begin + 0.19 + waits, end=begin + 0.3 + waits)
    start.client(nonce, number, sent=begin, end=begin + 0.4 + waits, text=start.whole(nonce, call))


@good("answers-asked-for-again-as-promised")
def attempts_kept() -> Story:
    """Twice at most, a little early within the slack, and on one client's leaving not at once."""
    start = Start()
    left(start, 0, closed=True)
    left(start, 5)
    left(start, 10, again=1.35)  # Once of three times it was not seen that the client had left.
    told_to_wait(start, 15, waits=0.96)
    number = start.round("upstream-error", 20, 60)
    nonce = start.nonce()  # Twice here, and twice at the other provider.
    for index, provider in enumerate(("openai", "openai", "ollama", "ollama")):
        start.call(nonce, read=21.1 + 0.2 * index, end=21.2 + 0.2 * index, provider=provider,
                   status=500, pieces=0)  # fmt: skip
    start.client(nonce, number, sent=21, end=22, outcome="refused", status=502)
    nonce = start.nonce()  # The same question again after a good answer, as agents ask.
    for index, status in enumerate((500, 200, 500, 200)):
        call = start.call(nonce, read=23.1 + 0.2 * index, end=23.2 + 0.2 * index, status=status)
    start.client(nonce, number, sent=23, end=24, text=start.whole(nonce, call), route="agent")
    return (start,), {"selected": ("answers/attempts",), "promises": RETRYING}


@bad("answers/attempts")
def attempts_beyond() -> Story:
    """One retry is promised, and two are made."""
    start = Start()
    number = start.round("upstream-error", 0, 60)
    nonce = start.nonce()
    for index in range(3):
        start.call(nonce, read=1.1 + 0.2 * index, end=1.2 + 0.2 * index, status=500, pieces=0)
    start.client(nonce, number, sent=1, end=2, outcome="refused", status=502, error="{}")
    return (start,), {"promises": RETRYING}
