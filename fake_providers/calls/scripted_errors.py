"""Scripted answers: an error with a body and headers from a rule, a redirection."""

from __future__ import annotations

from math import ceil
from typing import Final

from fake_providers.http.answers import WholeAnswer, whole_answer
from fake_providers.prompt.behaviour import Behaviour

TEXT: Final = b"text/plain; charset=utf-8"
BODY_HEADERS: Final = (b"content-type", b"content-length")


def scripted_error(answer: WholeAnswer, behaviour: Behaviour) -> WholeAnswer:
    """The dialect's error with the body and headers of ``behaviour``."""
    headers = {name.lower().encode(): value.encode("latin-1") for name, value in behaviour.headers}
    if behaviour.retry_after_s is not None:
        headers.setdefault(b"retry-after", b"%d" % ceil(behaviour.retry_after_s))
        if behaviour.retry_after_s % 1:
            headers.setdefault(b"retry-after-ms", b"%d" % round(behaviour.retry_after_s * 1000))
    if not headers and behaviour.text is None:
        return answer
    kind = dict(answer.headers)[b"content-type"]
    body = answer.body
    if behaviour.text is not None:
        body = behaviour.text.encode("utf-8", "replace")
        kind = kind if body.lstrip()[:1] in {b"{", b"["} else TEXT
    kind = headers.pop(b"content-type", kind)
    headers.pop(b"content-length", None)
    kept = [(n, v) for n, v in answer.headers if n not in headers and n not in BODY_HEADERS]
    return whole_answer(answer.status, kind, body, extra=[*kept, *headers.items()])


def redirect_to(path: str) -> WholeAnswer:
    """307: the same request, at another address."""
    return whole_answer(307, TEXT, b"", extra=[(b"location", path.encode())])
