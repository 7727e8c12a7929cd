"""What answers contain in every dialect: the row of tokens, and vectors."""

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


def asks_for_json(form: object) -> bool:
    """Whether an OpenAI response format is one of the two kinds of JSON."""
    return isinstance(form, dict) and form.get("type") in ("json_object", "json_schema")


def nonce_of(prompt: object) -> int:
    """The nonce of one prompt among several; 0 if it has none."""
    if not isinstance(prompt, str):
        return 0
    _, nonces, _ = find_tokens(prompt.encode("utf-8", "surrogatepass"))
    return nonces[-1] if nonces else 0


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
