"""A run that is larger than what is computed at once, or is in memory, has the same verdict."""

from __future__ import annotations

import pytest

from routerspec.judge import judge
from routerspec.records import storage
from routerspec.records.run import read_run
from tests.corpus import judged
from tests.corpus.make import HISTORIES

LOADED = (
    "bad/answers--own",
    "bad/answers--whole",
    "bad/cap--hang-ups",
    "bad/cap--under-load",
    "good/agents-own-and-whole",
    "good/answers-own-and-whole",
    "good/cap-held-under-load",
)


@pytest.mark.parametrize("name", LOADED)
def test_the_verdict_is_that_of_the_whole_run_at_once(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = judged.verdict(name)
    monkeypatch.setattr(storage, "PIECE", 7)
    monkeypatch.setattr(storage, "IN_MEMORY", 1 << 10)
    assert judge.judge(read_run(HISTORIES / name)) == whole
