"""The model list as Anthropic's clients read it, all on one page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from reference_router.model_list import Card


def page(cards: Sequence[Card]) -> dict[str, Any]:
    """The list."""
    return {
        "data": [one(card) for card in cards],
        "has_more": False,
        "first_id": cards[0].id if cards else None,
        "last_id": cards[-1].id if cards else None,
    }


def one(card: Card) -> dict[str, Any]:
    """One model."""
    created = datetime.fromtimestamp(card.created, UTC).isoformat().replace("+00:00", "Z")
    return {"type": "model", "id": card.id, "display_name": card.id, "created_at": created}
