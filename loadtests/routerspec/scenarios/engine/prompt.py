"""The prompt of a generation request: a token that carries its nonce and its directives."""

from __future__ import annotations

from typing import Any, Final, TypedDict

from fake_providers.prompt import directives as tokens

Directives = TypedDict(
    "Directives",
    {
        "annotations": int,
        "args": str,
        "at": int,
        "attempts": int,
        "before": str,
        "calls": int,
        "clean": int,
        "comments": int,
        "cut": int,
        "cuts": int,
        "eol": str,
        "error": int,
        "fields": int,
        "fin": int,
        "fingerprint": int,
        "finish": str,
        "first": float,
        "from": int,
        "gap": float,
        "gzip": int,
        "ids": str,
        "join": int,
        "length": int,
        "lines": int,
        "malformed": int,
        "newline": int,
        "order": str,
        "pad": int,
        "redirect": str,
        "refusal": int,
        "retry_after": float,
        "space": int,
        "split": int,
        "stall": int,
        "status": int,
        "text": str,
        "thinking": str,
        "tokens": int,
        "tools": int,
        "usage": str,
    },
    total=False,
)
"""What a request tells its provider to do, besides ``hold`` and ``gate``. Times in seconds; the
meaning of each is in ``fake_providers/README.md``."""

_KNOWN: Final = frozenset(Directives.__annotations__) | {"hold", "gate"}


def prompt(run: str, nonce: int, directives: dict[str, Any]) -> str:
    """The text to send. Raises TypeError for a directive that no fake provider has."""
    if unknown := directives.keys() - _KNOWN:
        raise TypeError(f"no such directive: {', '.join(sorted(unknown))}")
    return f"Repeat after me: {tokens.token(run, nonce, **directives)}"
