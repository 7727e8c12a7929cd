"""Lists that are fetched anew in the background, so that a client need not wait for it.

Decides from which age on a list is refreshed and up to which age it is shown. Refuses to know how
it is fetched: there is still one fetch of a provider at a time, and whoever has nothing to be
shown waits for that one.

    ahead      ---- fresh ----|-- shown, refreshed --|  expired: wait
    stale      ---------- fresh ---------------------|-- shown, refreshed --|  too old: wait

A refresh is prompted by a client, never by a clock alone: nobody's list is fetched for nobody. One
that fails leaves the list that there is as it is, and is tried again after a moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from reference_router.answer import ApiError
from reference_router.model_list import Cards, Entry, Fetch, ModelList

AHEAD = 0.75
"""Of its TTL: from this age on a list is refreshed before it expires."""
STALE = 10
"""Times its TTL: up to this age an expired list is shown while a new one is fetched."""


class RefreshedList(ModelList):
    """Shows a list up to one age, and has it refreshed from another on; both in TTLs."""

    def __init__(
        self,
        fetchers: Mapping[str, Fetch],
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        refreshed_from: float,
        shown_until: float,
    ) -> None:
        super().__init__(fetchers, ttl_s, clock)
        self._refreshed_from_s = refreshed_from * ttl_s
        self._shown_until_s = shown_until * ttl_s
        self._lists: dict[str, Entry] = {}
        """The last list of each provider, whatever failed since."""

    async def _of(self, provider: str) -> Cards | ApiError:
        last, now = self._lists.get(provider), self._clock()
        if last is None or now - last.stamp >= self._shown_until_s:
            return await super()._of(provider)
        has_just_failed = isinstance(self._known(provider, now), ApiError)
        if now - last.stamp >= self._refreshed_from_s and not has_just_failed:
            self._fetching(provider)
        return last.answer

    async def _fetch_and_store(self, provider: str) -> Cards | ApiError:
        answer = await super()._fetch_and_store(provider)
        if not isinstance(answer, ApiError):
            self._lists[provider] = self._entries[provider]
        return answer
