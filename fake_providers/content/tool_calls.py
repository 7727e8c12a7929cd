"""The tool calls of an answer: which tools, with which arguments, in which fragments."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, count, pairwise, zip_longest
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from fake_providers.calls.recorder import OpenCall
from fake_providers.content.hard_text import PIECES
from fake_providers.content.schemas import required_properties, value_of
from fake_providers.content.text import pieces, whole
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.prompt.forms import Content
from fake_providers.prompt.sizes import truncated

MAX_SAFE: Final = 2**53
"""The largest integer up to which JavaScript has all."""
LONG: Final = 20_000
"""Characters of a long argument."""
TOO_LONG: Final = 86
"""Characters of a foreign identifier; OpenAI accepts 64 at most."""
ESCAPED: Final = ' "quoted" \\ C:\\new/\u00fc\t\r\n\u0000\u00e9 e\u0301 ' + PIECES[3]

_PLACE: Final = "<row>"
"""Where the row comes within the arguments."""
_ESCAPES: Final = re.compile(r"\\u[0-9a-f]{4}\\u[0-9a-f]{4}|\\u[0-9a-f]{4}|\\.")
_encode = msgspec.json.Encoder().encode
T = TypeVar("T")


class ToolCall(msgspec.Struct, frozen=True):
    """One tool call."""

    id: str
    name: str
    arguments: dict[str, Any]
    written: str
    """The arguments as JSON text; cut short, it is no JSON."""
    row: Callable[[], Iterator[str]] | None = None
    """Where the arguments carry the row of an answer: makes their fragments, one for each piece."""

    def fragments(self, cuts: int) -> Iterator[str]:
        """The arguments in parts: those of its row, or as many as ``cuts`` says."""
        return fragments(self.written, cuts) if self.row is None else self.row()


def tools_to_call(
    fields: dict[str, Any], behaviour: Behaviour, choice: object = None
) -> tuple[dict[str, Any], ...]:
    """The declarations of the tools that this chat should call now, in order; none: it gets text.

    ``choice`` is OpenAI's ``tool_choice``: a tool that it forces is called once.
    """
    tools = fields.get("tools")
    if choice == "none" or not isinstance(tools, list):
        return ()
    found = [
        function
        for tool in tools
        if isinstance(tool, dict)
        # The responses API has name and parameters in the tool itself.
        and isinstance(function := tool.get("function", tool), dict)
    ]
    named = None
    if isinstance(choice, dict):
        inner = choice.get("function", choice)
        named = inner.get("name") if isinstance(inner, dict) else None
        found = [function for function in found if function.get("name") == named]
    content = behaviour.content
    calls = content.calls
    forced = named or choice == "required" or calls or content.args == "row"
    results = max(behaviour.tools, 1 if forced else 0)
    if not found or _tool_results(fields) >= results:
        return ()
    if fields.get("parallel_tool_calls") is False:
        calls = 1
    return tuple(found[number % len(found)] for number in range(calls or 1))


def _tool_results(fields: dict[str, Any]) -> int:
    messages = fields.get("messages", fields.get("input"))
    return sum(map(_results_of, messages if isinstance(messages, list) else ()))


def _results_of(message: Any) -> int:
    """The tool results in a message or an item; those of Anthropic are blocks of its content."""
    if not isinstance(message, dict):
        return 0
    if message.get("role") == "tool" or message.get("type") == "function_call_output":
        return 1
    content = message.get("content")
    blocks = content if isinstance(content, list) else ()
    return sum(isinstance(one, dict) and one.get("type") == "tool_result" for one in blocks)


def tool_calls(
    functions: Sequence[dict[str, Any]],
    call: OpenCall,
    behaviour: Behaviour,
    new_id: Callable[[], str],
    *,
    first: int = 0,
    limit: int | None = None,
) -> tuple[ToolCall, ...]:
    """A call of each of these tools. ``first``: the number of the first call in the answer.

    ``limit``: the most pieces of the row, where the arguments carry one.
    """
    content, found = behaviour.content, []
    for number, function in enumerate(functions, first):
        name = str(function.get("name", ""))
        arguments = _arguments(function, call, content, number - first)
        written = _encode(arguments).decode()
        if content.args == "escapes":
            written = _half_escaped(written)
        its_id = _foreign_id(call, name, number) if content.ids else new_id()
        found.append(ToolCall(its_id, name, arguments, written))
    if found and content.args == "row":
        found[0] = _with_row(found[0], functions[0], call, behaviour, limit)
    return tuple(found)


def _with_row(
    plain: ToolCall,
    function: dict[str, Any],
    call: OpenCall,
    behaviour: Behaviour,
    limit: int | None,
) -> ToolCall:
    """The same tool call with the row of an answer as its text."""
    carrier = _carrier(function, "string", "text")
    template = _encode({**plain.arguments, carrier: _PLACE}).decode()
    before, _, after = template.partition(_PLACE)

    def row() -> Iterator[str]:
        return pieces(call, behaviour, limit=limit, frame=(before, after))

    arguments = {**plain.arguments, carrier: whole(call, behaviour, limit=limit)}
    cut_short = truncated(behaviour, limit)
    written = "".join(row()) if cut_short else _encode(arguments).decode()
    return replace(plain, arguments=arguments, written=written, row=row)


def _arguments(
    function: dict[str, Any], call: OpenCall, content: Content, number: int
) -> dict[str, Any]:
    """Arguments for the required parameters, of their declared types; no two calls have equal ones.

    What the directive ``args`` adds is in the first parameter of its type.
    """
    if content.args == "none":
        return {}
    nonce = str(call.nonces[-1] if call.nonces else 0)
    text = f"{nonce}-{number}" if number else nonce
    required = required_properties(function.get("parameters"))
    arguments = {name: value_of(kind, text, 1 + number) for name, kind in required.items()}
    extra: dict[str, tuple[str, str, Any]] = {
        "escapes": ("string", "text", text + ESCAPED),
        "long": ("string", "text", (text + _numbers())[:LONG]),
        "bigint": ("integer", "number", MAX_SAFE + 1 + 2 * number),
    }
    if content.args in extra:
        kind, name, value = extra[content.args]
        arguments[_carrier(function, kind, name)] = value
    return arguments


def _carrier(function: dict[str, Any], kind: str, otherwise: str) -> str:
    """The first required parameter of this type; if there is none, ``otherwise``."""
    found = (
        name
        for name, schema in required_properties(function.get("parameters")).items()
        if schema.get("type") == kind and "enum" not in schema
    )
    return next(found, otherwise)


def _numbers() -> str:
    """More different text than the longest argument has."""
    return "".join(f" {number}" for number in range(LONG // 4))


def _half_escaped(written: str) -> str:
    """Every second character beyond ASCII in an escape: JSON has both forms."""
    turns = count()

    def escaped(found: re.Match[str]) -> str:
        units = found[0].encode("utf-16-be").hex("-", 2).split("-")
        return found[0] if next(turns) % 2 else "".join(f"\\u{unit}" for unit in units)

    return re.sub(r"[^\x00-\x7f]", escaped, written).replace("/", "\\/")


def _foreign_id(call: OpenCall, name: str, number: int) -> str:
    """By turns: one of characters that Anthropic refuses, one that is too long for OpenAI.

    No server refuses its own: those of Anthropic are all of the second kind.
    """
    if number % 2 == 0 and call.provider != "anthropic":
        return f"functions.{name}:{number}"
    return f"{own_foreign(call.provider)}{call.call}-{number}-".ljust(TOO_LONG, "x")


def own_foreign(provider: str) -> str:
    """How the foreign identifiers of this provider begin, which it accepts itself."""
    return f"call_{provider}_"


def fragments(written: str, cuts: int) -> Iterator[str]:
    """Arguments in this many fragments, none empty; 0: two halves.

    Every second cut is within an escape, as long as there are any.
    """
    if not cuts:
        middle = len(written) // 2
        return filter(None, (written[:middle], written[middle:]))
    wanted = min(cuts, len(written)) - 1
    escapes = [at for one in _ESCAPES.finditer(written) for at in range(*one.span())[1:]]
    chosen = set(_spread(escapes, (wanted + 1) // 2))
    evenly = _spread(range(1, len(written)), wanted)
    for place in chain(evenly, range(1, len(written))):
        if len(chosen) == wanted:
            break
        chosen.add(place)
    places = [0, *sorted(chosen), len(written)]
    return (written[start:end] for start, end in pairwise(places))


def _spread(places: Sequence[int], wanted: int) -> list[int]:
    """As many of these places as are wanted and exist, at equal distances."""
    if len(places) <= wanted:
        return list(places)
    return [places[number * len(places) // wanted] for number in range(wanted)]


def in_order(parts: Sequence[Iterable[T]], content: Content) -> Iterator[T]:
    """The parts of several tool calls: one call after the other, or by turns."""
    if content.order != "interleaved":
        return chain.from_iterable(parts)
    turns = chain.from_iterable(zip_longest(*parts))
    return (part for part in turns if part is not None)
