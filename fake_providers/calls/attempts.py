"""Attempts: how often each request body was seen, of the latest ones.

Two generations of counts bound the memory: when the younger is full, the older is forgotten. A
body is remembered for at least ``MAX_YOUNG`` other bodies after its last request.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

MAX_YOUNG: Final = 65_536
"""Bodies in one generation; both together take about 10 MB."""


class Attempts:
    """The counts of one process."""

    def __init__(self, max_young: int = MAX_YOUNG) -> None:
        self._max_young = max_young
        self._young: dict[int, int] = {}
        self._old: dict[int, int] = {}
        self._salts: dict[str, int] = {}
        """By route: there are a few."""
        self.forgotten = 0
        """Bodies whose next request would count as their first."""

    def count(self, route: str, body_hash: str) -> int:
        """1 + the number of earlier requests of this route and body, unless it was forgotten.

        ``body_hash``: 16 hex digits.
        """
        if (salt := self._salts.get(route)) is None:
            digest = blake2b(route.encode(errors="surrogatepass"), digest_size=8).digest()
            salt = self._salts[route] = int.from_bytes(digest, "big")
        key = int(body_hash, 16) ^ salt
        young = self._young
        if (count := young.get(key)) is None:
            count = self._old.pop(key, 0)
            if len(young) >= self._max_young:
                self.forgotten += len(self._old)
                self._old = young
                young = self._young = {}
        young[key] = count = count + 1
        return count

    def __len__(self) -> int:
        """Bodies that are remembered."""
        return len(self._young) + len(self._old)
