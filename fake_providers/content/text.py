"""What answers contain in every dialect: the row of tokens, tool calls, vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Any, Final

from fake_providers.calls.recorder import OpenCall
from fake_providers.content import hard_text
from fake_providers.prompt.behaviour import Behaviour
from fake_providers.prompt.directives import (
    DIMENSIONS,
    answer,
    closing_piece,
    embedding,
    find_tokens,
    piece,
)

NO_FRAME: Final = ("", "")
NO_NONCE: Final = [0.125] * DIMENSIONS
"""The vector of an input without a prompt token: unit length, and no nonce's."""


def pieces(
    call: OpenCall,
    behaviour: Behaviour,
    *,
    limit: int | None = None,
    nonce: int | None = None,
    frame: tuple[str, str] = NO_FRAME,
) -> Iterator[str]:
    """The answer to ``call``, piece by piece: see ``tokens``."""
    found = tokens(call, behaviour, limit=limit, nonce=nonce, frame=frame)
    if not behaviour.chunks:
        return found
    return map("".join, chunked(found, behaviour.chunks))


def chunked(found: Iterator[str], sizes: Sequence[int]) -> Iterator[tuple[str, ...]]:
    """Tokens in groups of these sizes, and one by one when there are no more sizes."""
    for size in chain(sizes, repeat(1)):
        if not (group := tuple(islice(found, size))):
            return
        yield group


def tokens(
    call: OpenCall,
    behaviour: Behaviour,
    *,
    limit: int | None = None,
    nonce: int | None = None,
    frame: tuple[str, str] = NO_FRAME,
) -> Iterator[str]:
    """The answer to ``call``, token by token, its closing one last; hard text is a token each.

    ``limit``: the most tokens of the row. ``nonce``: of one prompt among several. ``frame``: the
    text before and after (see ``json_frame``).
    """
    if nonce is None:
        nonce = call.nonces[-1] if call.nonces else 0
    before = frame[0] + ("~" * behaviour.pad + " " if behaviour.pad else "")
    count, after = behaviour.tokens, frame[1]
    if behaviour.content.text:
        framed = frame != NO_FRAME
        after = _inside(hard_text.LAST, framed=framed) + after
        for text in hard_text.before_row(behaviour.content.text):
            yield before + _inside(text, framed=framed)
            before = ""
    for number in range(count if limit is None else min(limit, count)):
        text = piece(nonce, call.provider, call.call, number)
        yield before + text if before else text
        before = ""
    if limit is None or limit > count:
        end = closing_piece(call.run, nonce, call.provider, call.call, count)
        yield before + end + after


def _inside(text: str, *, framed: bool) -> str:
    """``text`` as it stands in an answer: in one that is JSON, as a part of a string."""
    return json.dumps(text, ensure_ascii=False)[1:-1] if framed else text


def whole(
    call: OpenCall,
    behaviour: Behaviour,
    *,
    limit: int | None = None,
    nonce: int | None = None,
    frame: tuple[str, str] = NO_FRAME,
) -> str:
    """The same tokens as one text."""
    count = behaviour.tokens
    special = behaviour.pad or behaviour.content.text or frame != NO_FRAME
    if special or (limit is not None and limit <= count):
        return "".join(tokens(call, behaviour, limit=limit, nonce=nonce, frame=frame))
    if nonce is None:
        nonce = call.nonces[-1] if call.nonces else 0
    return answer(call.run, nonce, call.provider, call.call, count)


def json_frame(schema: object) -> tuple[str, str]:
    """The text around an answer that makes it JSON of this schema, in its first string property."""
    required = _required(schema) or {"answer": {"type": "string"}}
    strings = [name for name, kind in required.items() if kind.get("type") == "string"]
    carrier = strings[0] if strings else "answer"
    rest = {name: _value(kind) for name, kind in required.items() if name != carrier}
    others = ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in rest.items())
    return f'{{{json.dumps(carrier)}: "', f'", {others}}}' if others else '"}'


def asks_for_json(form: object) -> bool:
    """Whether an OpenAI response format is one of the two kinds of JSON."""
    return isinstance(form, dict) and form.get("type") in ("json_object", "json_schema")


def nonce_of(prompt: object) -> int:
    """The nonce of one prompt among several; 0 if it has none."""
    if not isinstance(prompt, str):
        return 0
    _, nonces, _ = find_tokens(prompt.encode("utf-8", "surrogatepass"))
    return nonces[-1] if nonces else 0


def tool_to_call(
    fields: dict[str, Any], behaviour: Behaviour, choice: object = None
) -> dict[str, Any] | None:
    """The declaration of the tool that this chat should call now, or None for text.

    ``choice`` is OpenAI's ``tool_choice``: a tool that it forces is called once.
    """
    tools = fields.get("tools")
    if choice == "none" or not isinstance(tools, list):
        return None
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
    calls = max(behaviour.tools, 1 if named or choice == "required" else 0)
    return found[0] if found and _tool_results(fields) < calls else None


def _tool_results(fields: dict[str, Any]) -> int:
    messages = fields.get("messages", fields.get("input"))
    return sum(
        isinstance(message, dict)
        and (message.get("role") == "tool" or message.get("type") == "function_call_output")
        for message in (messages if isinstance(messages, list) else ())
    )


def tool_arguments(function: dict[str, Any], call: OpenCall) -> dict[str, Any]:
    """Arguments for the required parameters of a tool, of their declared types."""
    text = str(call.nonces[-1] if call.nonces else 0)
    required = _required(function.get("parameters"))
    return {name: _value(kind, text) for name, kind in required.items()}


def _required(schema: object) -> dict[str, dict[str, Any]]:
    """The required properties of a JSON schema, by name."""
    if not isinstance(schema, dict):
        return {}
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict) or not isinstance(required, list):
        return {}
    return {
        name: properties[name]
        for name in required
        if isinstance(name, str) and isinstance(properties.get(name), dict)
    }


def _value(schema: dict[str, Any], text: str = "") -> Any:
    """A value of this schema's type; ``text`` for an unknown type."""
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[0]
    values: dict[str, Any] = {
        "integer": 1,
        "number": 1,
        "boolean": True,
        "array": [],
        "object": {},
        "null": None,
    }
    return values.get(str(schema.get("type")), text)


def vectors(given: Any) -> list[list[float]] | None:
    """One vector for each item of an embeddings input; None if it is not valid.

    A string or a list of token ids is one item; a list of them is several.
    """
    if isinstance(given, str):
        return [_vector(given)]
    if not isinstance(given, list):
        return None
    if given and all(isinstance(item, int) for item in given):
        return [NO_NONCE]
    if not all(isinstance(item, str | list) for item in given):
        return None
    return [_vector(item) for item in given]


def _vector(item: Any) -> list[float]:
    if isinstance(item, str):
        run, nonces, _ = find_tokens(item.encode("utf-8", "surrogatepass"))
        if nonces:
            return embedding(run, nonces[-1])
    return NO_NONCE
