"""Answers that were ordered: an error with a body and headers of one's own, a redirection.

Decides what an order changes about the dialect's usual error. Refuses to know dialects.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from fake_providers.http.answers import Whole, whole
from fake_providers.prompt.behaviour import Behaviour

TEXT: Final = b"text/plain; charset=utf-8"
MEASURED: Final = (b"content-type", b"content-length")


def ordered(answer: Whole, behaviour: Behaviour) -> Whole:
    """The dialect's error with what ``behaviour`` tells on top."""
    told = {name.lower().encode(): value.encode("latin-1") for name, value in behaviour.headers}
    if behaviour.retry_after_s is not None:
        told.setdefault(b"retry-after", b"%d" % ceil(behaviour.retry_after_s))
        if behaviour.retry_after_s % 1:
            told.setdefault(b"retry-after-ms", b"%d" % round(behaviour.retry_after_s * 1000))
    if not told and behaviour.text is None:
        return answer
    kind = dict(answer.headers)[b"content-type"]
    body = answer.body
    if behaviour.text is not None:
        body = behaviour.text.encode("utf-8", "replace")
        kind = kind if body.lstrip()[:1] in {b"{", b"["} else TEXT
    kind = told.pop(b"content-type", kind)
    told.pop(b"content-length", None)
    kept = [(n, v) for n, v in answer.headers if n not in told and n not in MEASURED]
    return whole(answer.status, kind, body, extra=[*kept, *told.items()])


def redirected(path: str) -> Whole:
    """307: the same request, at another address."""
    return whole(307, TEXT, b"", extra=[(b"location", path.encode())])
