"""The token in a prompt, with the request's nonce and directives, and the text of an answer.

    rs:RUN:NONCE:DIRECTIVES:     rs:k3f9az:17:hold=head,gate=g2,tokens=4:

RUN is 1 to 12 of ``a-z0-9``; NONCE a decimal integer (of 48 bits at most: an embedding has room for
no more); DIRECTIVES is empty or
``key=value`` pairs joined by commas, 500 characters at most. None of its characters is ever escaped
in JSON or in a URL path. Routers rewrite bodies, so the token is found by pattern anywhere in the
raw bytes.

The answer is a row of numbered tokens, each with the nonce and the call that made it, and one
closing token with their number and a checksum:

    17@openai-42#0 17@openai-42#1 17@openai-42#end2-9f3a2b1c

So the joined text shows whose it is, what is missing, doubled or out of order, and whether two
calls were mixed, whatever a router did to the framing. An embedding shows the same by the signs
of its 64 numbers.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

MAX_DIRECTIVES: Final = 500
"""Characters of all directives of a token."""
TOKEN: Final = re.compile(
    rb"rs:([a-z0-9]{1,12}):(\d{1,15}):([a-z0-9_=.,-]{0,%d}):" % MAX_DIRECTIVES
)

DIMENSIONS: Final = 64
_NONCE_BITS: Final = 48
_CHECK_BITS: Final = DIMENSIONS - _NONCE_BITS


def token(run: str, nonce: int, **directives: str | float) -> str:
    """The prompt token for one request; ``directives`` in the order given.

    Raises ValueError where they are too long to be found.
    """
    pairs = ",".join(f"{key}={value}" for key, value in directives.items())
    if len(pairs) > MAX_DIRECTIVES:
        raise ValueError(
            f"directives of {len(pairs)} characters, {MAX_DIRECTIVES} at most: {pairs}"
        )
    return f"rs:{run}:{nonce}:{pairs}:"


def find_tokens(body: bytes) -> tuple[str, tuple[int, ...], dict[str, str]]:
    """(run, distinct nonces, directives) of a request body; ("", (), {}) when it has no token.

    Run and directives are those of the last token: a chat body repeats the history, and its last
    message is the current one. Nonces of other runs are left out.
    """
    found = TOKEN.findall(body)
    if not found:
        return "", (), {}
    run, nonce, directives = found[-1]
    nonces: Iterable[int] = (int(nonce),)
    if len(found) > 1:
        nonces = dict.fromkeys(int(nonce) for its_run, nonce, _ in found if its_run == run)
    return run.decode(), tuple(nonces), _pairs(directives.decode()) if directives else {}


def _pairs(directives: str) -> dict[str, str]:
    pairs = (pair.partition("=") for pair in directives.split(",") if pair)
    return {key: value for key, _, value in pairs}


def piece(nonce: int, provider: str, call: int, number: int) -> str:
    """Numbered token ``number`` (from 0) of an answer, with its trailing space."""
    return f"{nonce}@{provider}-{call}#{number} "


@lru_cache(64)
def _numbers(count: int) -> str:
    return "".join(f"~{number} " for number in range(count))


def answer(run: str, nonce: int, provider: str, call: int, count: int) -> str:
    """A whole answer of ``count`` numbered tokens: every ``piece`` and ``closing_piece``."""
    pieces = _numbers(count).replace("~", f"{nonce}@{provider}-{call}#")
    return pieces + closing_piece(run, nonce, provider, call, count)


def closing_piece(run: str, nonce: int, provider: str, call: int, count: int) -> str:
    """The last token of an answer of ``count`` numbered tokens."""
    return f"{nonce}@{provider}-{call}#end{count}-{checksum(run, nonce, provider, call, count)}"


def checksum(run: str, nonce: int, provider: str, call: int, count: int) -> str:
    """8 hex digits that bind an answer's length to its run, nonce and call."""
    return f"{zlib.crc32(f'{run}:{nonce}:{provider}-{call}:{count}'.encode()):08x}"


def embedding(run: str, nonce: int) -> list[float]:
    """64 numbers of +-0.125 (unit length): 48 sign bits of the nonce, 16 of a checksum.

    Signs survive normalising, float32 and base64: a router may do no more to them.
    """
    bits = (nonce << _CHECK_BITS) | _embedded_check(run, nonce)
    return [0.125 if bits >> (DIMENSIONS - 1 - i) & 1 else -0.125 for i in range(DIMENSIONS)]


def embedded_nonce(run: str, vector: list[float]) -> int | None:
    """The nonce that ``embedding`` put into ``vector``; None when its checksum does not fit."""
    if len(vector) != DIMENSIONS:
        return None
    bits = 0
    for value in vector:
        bits = bits << 1 | (value > 0)
    nonce = bits >> _CHECK_BITS
    return nonce if bits == (nonce << _CHECK_BITS) | _embedded_check(run, nonce) else None


def _embedded_check(run: str, nonce: int) -> int:
    return zlib.crc32(f"{run}:{nonce}".encode()) & ((1 << _CHECK_BITS) - 1)
