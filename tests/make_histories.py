"""Makes the committed histories: ``python -m tests.make_histories`` from the repository's root.

    tests/histories/good/NAME         every selected check holds
    tests/histories/bad/GROUP--CHECK  exactly that check is violated, of all there are

The folder is the oracle; ``tests/test_corpus.py`` judges them all.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from routerspec.checks import REGISTRY
from tests import (
    stories_answers,
    stories_answers_more,
    stories_cancel,
    stories_cap,
    stories_cap_more,
    stories_keys,
    stories_limits,
    stories_models,
    stories_models_more,
    stories_overhead,
    stories_overload,
    stories_slots,
)
from tests.history_builder import write_run
from tests.stories import BAD, GOOD

__all__ = ["BAD", "GOOD", "HISTORIES", "TOLD_BY", "make"]

HISTORIES = Path(__file__).parent / "histories"
TOLD_BY = (
    stories_cap,
    stories_cap_more,
    stories_limits,
    stories_slots,
    stories_models,
    stories_models_more,
    stories_answers,
    stories_answers_more,
    stories_cancel,
    stories_keys,
    stories_overload,
    stories_overhead,
)
"""The modules whose stories are told."""


def make(folder: Path) -> None:
    """Write all histories below ``folder``."""
    for name, tell in GOOD.items():
        starts, info = tell()
        write_run(folder / "good" / name, *starts, **info)
    for check, tell in BAD.items():
        starts, info = tell()
        name = check.replace("/", "--")
        write_run(folder / "bad" / name, *starts, **{"selected": tuple(REGISTRY)} | info)


if __name__ == "__main__":
    shutil.rmtree(HISTORIES, ignore_errors=True)
    make(HISTORIES)
