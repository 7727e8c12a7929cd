"""The fakes behind the routers of these tests: one process for all, reset by every world."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import fake_providers
from tests.router.world import RUN


@pytest.fixture(scope="session")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fake_providers.Fakes]:
    """Fakes with a ledger. ``world`` resets them before each router."""
    ledger = tmp_path_factory.mktemp("fakes") / "evidence.jsonl"
    with fake_providers.running(ledger=ledger, run=RUN) as running:
        yield running
