"""Canaries: secrets that are searched for in every request.

They are searched for in header values, path, query and body, verbatim and as JSON or a URL would
escape them. Only the name of a secret is ever reported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote, unquote_to_bytes

from fake_providers.http.request import HttpRequest


class Canaries:
    """The secrets, by name."""

    def __init__(self) -> None:
        self._forms: dict[str, frozenset[bytes]] = {}

    def add(self, secrets: Mapping[str, str]) -> None:
        """Search for these from now on, by their names."""
        for name, secret in secrets.items():
            escaped = json.dumps(secret)[1:-1]
            unicode = json.dumps(secret, ensure_ascii=False)[1:-1]
            quoted = quote(secret, safe="", errors="surrogatepass")
            slashed = (text.replace("/", "\\/") for text in (escaped, unicode))
            forms = (secret, escaped, unicode, quoted, *slashed)
            self._forms[name] = frozenset(form.encode("utf-8", "surrogatepass") for form in forms)

    def clear(self) -> None:
        """Search for none."""
        self._forms.clear()

    def hidden(self, data: bytes) -> bytes:
        """The same bytes with each secret replaced by its name."""
        for name, forms in self._forms.items():
            for form in sorted(forms, key=len, reverse=True):
                data = data.replace(form, b"{%b}" % name.encode())
        return data

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order in which they were added."""
        return tuple(self._forms)

    def found_in(self, http_request: HttpRequest) -> tuple[str, ...]:
        """The names of the secrets in this request."""
        if not self._forms:
            return ()
        places = [
            http_request.body or b"",
            http_request.path.encode("utf-8", "surrogatepass"),
            http_request.query,
            unquote_to_bytes(http_request.query.replace(b"+", b" ")),
            *(value for _, value in http_request.headers),
        ]
        return tuple(
            name
            for name, forms in self._forms.items()
            if any(form in place for form in forms for place in places)
        )
