"""What the answers say: the row of tokens, the tool that is called, the vectors, the usage.

Decides the content that is the same in every dialect. Refuses to know how it is framed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fake_providers.behaviour import Behaviour
from fake_providers.recorder import OpenCall
from fake_providers.wants import DIMENSIONS, closing_piece, embedding, find_tokens, piece

NO_NONCE: Final = [0.125] * DIMENSIONS
"""The vector of an input without a token: unit length, and no nonce's."""


def pieces(call: OpenCall, behaviour: Behaviour) -> Iterator[str]:
    """The answer to ``call``, piece by piece, its closing piece last."""
    nonce = call.nonces[-1] if call.nonces else 0
    for number in range(behaviour.tokens):
        yield piece(nonce, call.provider, call.call, number)
    yield closing_piece(call.run, nonce, call.provider, call.call, behaviour.tokens)


def prompt_tokens(size: int) -> int:
    """Tokens of a prompt of so many bytes: a plausible number, nothing is counted."""
    return max(1, size // 4)


def tool_wanted(fields: dict[str, Any], behaviour: Behaviour) -> dict[str, Any] | None:
    """The declaration of the tool that this chat is to call now, or None for text."""
    tools = fields.get("tools")
    if not behaviour.tools or not isinstance(tools, list) or not tools:
        return None
    messages = fields.get("messages")
    results = sum(
        isinstance(message, dict) and message.get("role") == "tool"
        for message in (messages if isinstance(messages, list) else ())
    )
    function = tools[0].get("function") if isinstance(tools[0], dict) else None
    return function if results < behaviour.tools and isinstance(function, dict) else None


def tool_arguments(function: dict[str, Any], call: OpenCall) -> dict[str, Any]:
    """Arguments for the required parameters of a tool, of the types that it declares."""
    values: dict[str, Any] = {
        "integer": 1,
        "number": 1,
        "boolean": True,
        "array": [],
        "object": {},
    }
    schema = function.get("parameters")
    if not isinstance(schema, dict):
        return {}
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict) or not isinstance(required, list):
        return {}
    text = str(call.nonces[-1] if call.nonces else 0)
    return {
        name: values.get(str(properties[name].get("type")), text)
        for name in required
        if isinstance(name, str) and isinstance(properties.get(name), dict)
    }


def vectors(given: Any) -> list[list[float]] | None:
    """One vector for each item of an embeddings input; None when it is no such input.

    A string or a list of token ids is one item; a list of those is as many.
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
