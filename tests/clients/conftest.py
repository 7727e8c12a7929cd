"""One stack for all clients, whose requests have a nonce each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.clients.stack import Stack, running


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    with running() as stack:
        yield stack


@pytest.fixture(scope="session")
def nonces() -> Iterator[int]:
    return itertools.count(1)
