"""More defects of the model list: how long it is kept, and whom a failure is allowed to harm."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping

from reference_router.answer import ApiError
from reference_router.flaws.flaw import Flaw
from reference_router.flaws.models import with_list
from reference_router.limiter import Limiter
from reference_router.model_list import Cards, Entry, Fetch, ModelList


class StampedBeforeList(ModelList):
    """The clock is read, then the list is fetched: a slow one is stored half expired."""

    async def _fetch_and_store(self, provider: str) -> Cards | ApiError:
        asked = self._clock()
        answer = await super()._fetch_and_store(provider)
        self._entries[provider] = Entry(answer, asked)
        return answer


class EmptyOnErrorList(ModelList):
    """``except: models = []``, and the result is stored like any other."""

    async def _fetch_and_store(self, provider: str) -> Cards | ApiError:
        answer = await super()._fetch_and_store(provider)
        if not isinstance(answer, ApiError):
            return answer
        self._entries[provider] = Entry((), self._clock())
        return ()


class UnshieldedList(ModelList):
    """Whoever joins a fetch awaits the first client's task, and is cancelled along with it."""

    async def _of(self, provider: str) -> Cards | ApiError:
        known = self._known(provider, self._clock())
        if known is not None:
            return known
        task = self._under_way.get(provider)
        if task is None:
            task = asyncio.create_task(self._fetch_and_store(provider))
            task.add_done_callback(lambda _: self._under_way.pop(provider))
            self._under_way[provider] = task
        return await task


class AllOrNothingList(ModelList):
    """One provider's error is everybody's: the first exception of the gathering goes through."""

    async def get(self) -> dict[str, Cards | ApiError]:
        """All lists, or the first error."""
        found = await super().get()
        for answer in found.values():
            if isinstance(answer, ApiError):
                raise answer
        return found


class UncachedByIdList(ModelList):
    """The cache stands before the list; asked for one model, it asks the provider."""

    async def of(self, provider: str) -> Cards | ApiError:
        """Fetched for every client."""
        return await self._fetch_and_store(provider) if provider in self._fetchers else ()


class PermitList(ModelList):
    """The list goes through the same gate as generation."""

    def __init__(self, fetchers: Mapping[str, Fetch], ttl_s: float, limiter: Limiter) -> None:
        super().__init__(fetchers, ttl_s)
        self._limiter = limiter

    async def get(self) -> dict[str, Cards | ApiError]:
        """Behind whoever holds the permits."""
        async with self._limiter:
            return await super().get()


class EagerList(ModelList):
    """A failure leaves no trace: the next client asks again, however soon it comes."""

    async def _fetch_and_store(self, provider: str) -> Cards | ApiError:
        answer = await super()._fetch_and_store(provider)
        if isinstance(answer, ApiError):
            del self._entries[provider]
        return answer


FLAWS = (
    Flaw(
        name="models-ttl-from-request",
        story="The clock is read before the fetch: a slow list is stored partly expired.",
        spoil=with_list(lambda fetchers, ttl_s, _: StampedBeforeList(fetchers, ttl_s)),
        trips=("models/ttl-from-receipt",),
    ),
    Flaw(
        name="models-no-expiry",
        story="The cache is filled once and never expires.",
        spoil=with_list(lambda fetchers, _ttl_s, _: ModelList(fetchers, math.inf)),
        trips=("models/refreshed",),
    ),
    Flaw(
        name="models-error-kept",
        story="A failed fetch counts as an empty list, and is cached.",
        spoil=with_list(lambda fetchers, ttl_s, _: EmptyOnErrorList(fetchers, ttl_s)),
        trips=("models/failure-not-cached",),
    ),
    Flaw(
        name="models-leader-hang-up",
        story="All wait for the first client's fetch, and its disconnect cancels it for all.",
        spoil=with_list(lambda fetchers, ttl_s, _: UnshieldedList(fetchers, ttl_s)),
        trips=("models/leader-hang-up",),
    ),
    Flaw(
        name="models-all-or-nothing",
        story="One provider that is down fails the whole list.",
        spoil=with_list(lambda fetchers, ttl_s, _: AllOrNothingList(fetchers, ttl_s)),
        trips=("models/dead-provider",),
    ),
    Flaw(
        name="models-by-id-uncached",
        story="The list is cached, but a model requested by id is fetched each time.",
        spoil=with_list(lambda fetchers, ttl_s, _: UncachedByIdList(fetchers, ttl_s)),
        trips=("models/by-id",),
    ),
    Flaw(
        name="models-behind-permit",
        story="A model-list request takes a permit like any generation, and queues for it.",
        spoil=with_list(PermitList),
        trips=("models/not-behind-cap",),
    ),
    Flaw(
        name="models-failing-unthrottled",
        story="A provider that fails is fetched from again for every request.",
        spoil=with_list(lambda fetchers, ttl_s, _: EagerList(fetchers, ttl_s)),
        trips=("models/failing-throttled",),
    ),
)
