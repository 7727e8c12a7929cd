"""The bytes of an answer rewritten: other line ends, more fields, more escapes, the same events.

A dialect writes each event as ``event: NAME`` and ``data: JSON`` with one line feed a line. What
is changed here stays within the standard of server-sent events and within JSON, so that every
reader of both has the same events and the same values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import count, islice, pairwise
from typing import Any, Final

from msgspec.structs import replace

from fake_providers.http.answers import Stream, WholeAnswer, with_body
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.prompt.forms import EOL, Framing

RETRY_MS: Final = 3000
BY_GO: Final = re.compile("[<>&\u2028\u2029]")
"""Characters that Go's encoder writes in escapes."""
ALL: Final = re.compile(r"[^\x20-\x7e]|[/<>&]")
"""All that JSON allows to be escaped and that is not a plain character."""
MAX_LINES: Final = 4
"""``data`` lines of one event."""

_PLACES: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[{\[,]', re.DOTALL)


def reframed(
    answer: Stream | WholeAnswer, behaviour: Behaviour, *, by_go: bool
) -> Stream | WholeAnswer:
    """The answer rewritten as ``behaviour`` says. ``by_go``: its server's JSON is written by Go."""
    escape = _escaping(behaviour, by_go=by_go)
    if isinstance(answer, WholeAnswer):
        return answer if escape is None else with_body(answer, escape(answer.body))
    framing = behaviour.framing
    change = escape or _as_it_is
    comment = answer.comment
    if comment:
        events = _Events(framing, change)
        change, comment = events.rewritten, events.comment(comment)
    opening, finish, failure = answer.opening, answer.finish, answer.failure
    first = change(opening)
    return replace(
        answer,
        opening=b"" if framing.join > 1 else first,
        pieces=_joined(first, map(change, answer.pieces), framing.join),
        finish=lambda: change(finish()),
        failure=lambda: change(failure()),
        malformed=b"" if behaviour.malformed is None else change(answer.malformed),
        comment=comment,
    )


def _joined(first: bytes, pieces: Iterator[bytes], size: int) -> Iterator[bytes]:
    """``size`` pieces in one; what opens the stream belongs to the first."""
    if size == 1:
        yield from pieces
        return
    while group := b"".join(islice(pieces, size)):
        yield first + group
        first = b""
    if first:
        yield first


def _escaping(behaviour: Behaviour, *, by_go: bool) -> Callable[[bytes], bytes] | None:
    """What escapes more characters in JSON; None: nothing does."""
    text = behaviour.content.text
    if not text or (text == "utf8" and not by_go):
        return None
    characters = ALL if text == "escapes" else BY_GO

    def escape(data: bytes) -> bytes:
        # Line feeds stand between the lines of a stream: within JSON they are escaped already.
        lines = data.decode().split("\n")
        return "\n".join(characters.sub(_escaped, line) for line in lines).encode()

    return escape


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if character == "/":
        return "\\/"
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _as_it_is(data: bytes) -> bytes:
    return data


class _Events:
    """The events of one stream, which are numbered."""

    def __init__(self, framing: Framing, change: Callable[[bytes], bytes]) -> None:
        self._framing = framing
        self._change = change
        self._eol = EOL[framing.eol]
        self._colon = b": " if framing.space else b":"
        self._numbers = count(1)

    def rewritten(self, data: bytes) -> bytes:
        """Whole events, each of which ends in an empty line."""
        return b"".join(map(self._event, self._change(data).split(b"\n\n")[:-1]))

    def comment(self, line: bytes) -> bytes:
        """A comment and the empty line behind it, or the event that a dialect has instead.

        Among events with an ``id`` it has none: openai-python takes that for an event without data.
        """
        if not line.startswith(b":"):
            return self.rewritten(line)
        end = self._eol if self._framing.fields else self._eol * 2
        return line.rstrip(b"\n") + end

    def _event(self, event: bytes) -> bytes:
        fields = [line.partition(b": ")[::2] for line in event.split(b"\n")]
        lines: list[tuple[bytes, Any]] = []
        if self._framing.fields:
            lines.append((b"id", b"%d" % next(self._numbers)))
            if fields[0][0] == b"data":
                lines.append((b"event", b"message"))
        for name, value in fields:
            spread = name == b"data" and self._framing.lines
            lines += ((name, part) for part in (_spread(value) if spread else (value,)))
        if self._framing.fields:
            lines.append((b"retry", b"%d" % RETRY_MS))
        written = (name + self._colon + value for name, value in lines)
        return self._eol.join((*written, b"", b""))


def _spread(json: bytes) -> list[bytes]:
    """JSON in several lines, cut where it may have white space; text of another kind is left."""
    if not json.startswith(b"{"):
        return [json]
    text = json.decode()
    places = [found.end() for found in _PLACES.finditer(text) if found[0][0] != '"']
    step = max(1, len(places) // (MAX_LINES - 1))
    cuts = [0, *places[::step][: MAX_LINES - 1], len(text)]
    return [text[start:end].encode() for start, end in pairwise(cuts)]
