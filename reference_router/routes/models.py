"""``/v1/models`` and ``/v1/models/{id}``: both from the same cache.

Decides what is shown when a provider did not answer: the others' models, and an error only when
there are none. Refuses to know when providers are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from reference_router.answer import Answer, ApiError
from reference_router.model_list import Card, Cards, ModelList
from reference_router.router import unknown


def _page(cards: list[Card]) -> dict[str, Any]:
    return {"object": "list", "data": cards}


def _one(card: Card) -> Card:
    return card


async def listed(models: ModelList, page: Callable[[list[Card]], Any] = _page) -> Answer:
    """The models of all providers that answered, in the shape of ``page``.

    Raises ApiError where none did.
    """
    found = await models.get()
    errors = [answer for answer in found.values() if isinstance(answer, ApiError)]
    if errors and len(errors) == len(found):
        raise errors[0]
    return Answer(body=msgspec.json.encode(page(_cards(found.values()))))


async def one(models: ModelList, model: str, shown: Callable[[Card], Any] = _one) -> Answer:
    """One model. Raises ApiError: 404, or what its provider's list failed with."""
    found = await models.of(model.partition("/")[0])
    if isinstance(found, ApiError):
        raise found
    for card in found:
        if card.id == model:
            return Answer(body=msgspec.json.encode(shown(card)))
    raise unknown(model)


def _cards(answers: Iterable[Cards | ApiError]) -> list[Card]:
    return [card for cards in answers if not isinstance(cards, ApiError) for card in cards]
