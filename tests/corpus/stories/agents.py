"""Stories of the fronts that agents speak, and of tool calls."""

from __future__ import annotations

from typing import Any

import msgspec

from routerspec.limits import COUNTED_AFTER, COUNTED_BESIDE, COUNTED_FREE, COUNTS
from tests.corpus.builder import LIMIT, Start, route
from tests.corpus.registry import Story, bad, good
from tests.corpus.stories.answers import answers
from tests.corpus.stories.faulty_providers import at_rest, begun, cut_short, ended, failed

ROUTES = (
    route("claude", "chat", "stream", "tools", front="anthropic", provider="anthropic"),
    route("responses", "chat", "stream", "tools", front="responses", provider="openai"),
    route("claude-ollama", "tools", front="anthropic", provider="ollama"),
)
CELLS = (
    ("claude", "stream", "anthropic", "end_turn"),
    ("claude", "tools", "anthropic", "tool_use"),
    ("responses", "stream", "openai", "completed"),
    ("responses", "tools", "openai", "completed"),
    ("claude-ollama", "tools", "ollama", "tool_use"),
)
"""(route, mode, provider, how an answer of it ends)."""


@good("agents-own-and-whole")
def agents_answered() -> Story:
    """Text and tool calls in both dialects; a call of Ollama is one piece."""
    start = Start()
    number = answers(start)
    for at, (name, mode, provider, finish) in enumerate(CELLS, start=30):
        nonce = start.nonce()
        call = start.call(nonce, read=at, end=at + 0.1, provider=provider, stream=True)
        start.client(nonce, number, sent=at, end=at + 0.2, text=start.whole(nonce, call),
                     route=name, mode=mode, finish=finish)  # type: ignore[arg-type]  # fmt: skip
    return (start,), {"selected": ("answers/own", "answers/whole"), "routes": ROUTES}


@good("agents-whose-providers-break-off")
def agents_cut_short() -> Story:
    """Each way in which these dialects say that an answer is not whole, and errors by name."""
    start = Start()
    number = start.round("cut-stream", 0, 60)
    ends: tuple[dict[str, Any], ...] = (
        {"error": "{'type': 'overloaded_error'}"},
        {"finish": "max_tokens", "done": True},
        {"outcome": "failed"},
        {"finish": "max_output_tokens", "done": True},
        {},
    )
    for at, ((name, mode, provider, _), end) in enumerate(zip(CELLS, ends, strict=True)):
        nonce = start.nonce()
        call = cut_short(start, nonce, at + 0.1, ended_by="cut", provider=provider)
        how = {key: end[key] for key in end if key in {"finish", "done"}}
        client = start.client(
            nonce, number, sent=at, end=at + 0.9, text=begun(nonce, call), route=name,
            mode=mode, **{key: end[key] for key in end if key not in how},  # type: ignore[arg-type]
        )  # fmt: skip
        ended(start, client, **how)
    number = start.round("upstream-error", 60, 120)
    for at, (route_, mode) in enumerate(
        ((its.name, mode) for its in ROUTES for mode in its.modes), start=60
    ):
        stated = {"route": route_, "mode": mode, "error": '{"type":"error","error":{}}'}
        failed(start, number, at, status=529, **stated)
    selected = ("answers/cut-is-no-success", "answers/no-replay", "answers/error-is-error")
    return (start,), {"selected": selected, "routes": ROUTES}


@good("agents-tool-calls-passed-on-together")
def agents_buffered() -> Story:
    """Text comes while it is made; the arguments of a call come with their last fragment."""
    start = Start()
    for begin, name in ((0, "claude"), (5, "responses")):
        at_rest(start, begin, first=0.2, rest=0.3, name=name)
    at_rest(start, 10, first=2.15, name="claude")
    _as_tools(start)
    return (start,), {"selected": ("answers/incremental",), "routes": ROUTES}


def _as_tools(start: Start) -> None:
    """The last round is one of tool calls."""
    last = max(record.round for record in start.observations)
    for index, record in enumerate(start.observations):
        if record.round == last and hasattr(record, "mode"):
            start.observations[index] = msgspec.structs.replace(record, mode="tools")


def counted(
    start: Start,
    begin: float,
    *,
    route: str = "claude",
    part: str = "",
    waits: bool = False,
    status: int = 200,
    asked: float | None = None,
    released: float = 2.0,
) -> int:
    """One round: counts with free slots, beside held calls, and once these are released.

    ``waits``: those beside come after the release. ``status``: of those beside. ``asked``: when a
    provider is, after each of them was sent.
    """
    number = start.round("count-tokens", begin, begin + 4, route=route, mode="chat", part=part)

    def count(name: str, sent: float, end: float, status: int = 200) -> None:
        for index in range(COUNTS):
            at = begin + sent + 0.001 * index
            start.count(
                number, name, sent=at, end=begin + end, status=status,
                asked=None if asked is None else at + asked,
            )  # fmt: skip

    count(COUNTED_FREE, 0.1, 0.15)
    nonces = [start.nonce() for _ in range(LIMIT + 1)]
    calls = []
    for index, nonce in enumerate(nonces):
        early = index < LIMIT
        read = begin + 0.22 + 0.001 * index if early else begin + released + 0.1
        end = begin + released + 0.01 + 0.001 * index if early else read + 0.05
        call = start.call(nonce, read=read, end=end, held=early, provider="anthropic")
        calls.append(call)
        start.client(
            nonce, number, sent=begin + 0.21, end=end + 0.02, text=start.whole(nonce, call),
            route=route, finish="end_turn",
        )  # fmt: skip
    start.snapshot(number, begin + 0.5, calls[:LIMIT], nonces, settled=False)
    count(COUNTED_BESIDE, 0.6, released + 0.05 if waits else 0.65, status)
    start.snapshot(number, begin + released - 0.1, calls[:LIMIT], nonces, settled=False)
    start.release(number, begin + released, "gate", LIMIT)
    if waits or status != 200:
        count(COUNTED_AFTER, released + 0.3, released + 0.35)
    return number


@good("token-counts-beside-a-full-house")
def counted_beside() -> Story:
    """One router forwards the count of one route, and another route does not serve it."""
    start = Start()
    counted(start, 0, asked=0.01)
    number = start.round("count-tokens", 10, 11, route="claude-ollama", mode="chat")
    for index in range(COUNTS):
        start.count(number, COUNTED_FREE, sent=10.1 + 0.01 * index, end=10.2, status=404)
    return (start,), {"selected": ("cap/count-tokens",), "routes": ROUTES}


@bad("cap/count-tokens")
def counted_behind() -> Story:
    """A request that counts tokens holds a permit as one that generates."""
    start = Start()
    counted(start, 0, waits=True)
    counted(start, 10, waits=True, part="again")
    return (start,), {"routes": ROUTES}
