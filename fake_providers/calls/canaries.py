"""Canaries: secrets that are looked for in every request.

Decides where they are looked for: the values of headers, the address, the body, as they are and
as JSON or an address would escape them. Refuses to tell a secret again: only its name leaves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote, unquote_to_bytes

from fake_providers.http.request import Arrival


class Canaries:
    """The secrets by name."""

    def __init__(self) -> None:
        self._forms: dict[str, frozenset[bytes]] = {}

    def tell(self, secrets: Mapping[str, str]) -> None:
        """Look for these from now on, by their names."""
        for name, secret in secrets.items():
            escaped = json.dumps(secret)[1:-1]
            unicode = json.dumps(secret, ensure_ascii=False)[1:-1]
            quoted = quote(secret, safe="", errors="surrogatepass")
            slashed = (text.replace("/", "\\/") for text in (escaped, unicode))
            forms = (secret, escaped, unicode, quoted, *slashed)
            self._forms[name] = frozenset(form.encode("utf-8", "surrogatepass") for form in forms)

    def clear(self) -> None:
        """Look for none."""
        self._forms.clear()

    @property
    def names(self) -> tuple[str, ...]:
        """What is looked for, in the order in which it was told."""
        return tuple(self._forms)

    def seen(self, arrival: Arrival) -> tuple[str, ...]:
        """The names of those in this request."""
        if not self._forms:
            return ()
        places = [
            arrival.body or b"",
            arrival.path.encode("utf-8", "surrogatepass"),
            arrival.query,
            unquote_to_bytes(arrival.query.replace(b"+", b" ")),
            *(value for _, value in arrival.headers),
        ]
        return tuple(
            name
            for name, forms in self._forms.items()
            if any(form in place for form in forms for place in places)
        )
