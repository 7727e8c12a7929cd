"""Stories of the fronts that agents speak, and of tool calls."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.corpus.builder import Start, route
from tests.corpus.registry import Story, good
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
