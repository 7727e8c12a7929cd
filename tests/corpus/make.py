"""Makes the committed histories: ``python -m tests.corpus.make`` from the repository's root.

    tests/corpus/histories/good/NAME         every selected check holds
    tests/corpus/histories/bad/GROUP--CHECK  exactly that check is violated, of all there are

The folder is the oracle; ``test_corpus`` judges them all.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.corpus.builder import write_run
from tests.corpus.registry import BAD, GOOD
from tests.corpus.stories import (
    answers,
    answers_more,
    cancel,
    cap,
    cap_more,
    keys,
    limits,
    models,
    models_more,
    overhead,
    overload,
    slots,
)

__all__ = ["BAD", "GOOD", "HISTORIES", "TOLD_BY", "make"]

HISTORIES = Path(__file__).parent / "histories"
TOLD_BY = (
    cap,
    cap_more,
    limits,
    slots,
    models,
    models_more,
    answers,
    answers_more,
    cancel,
    keys,
    overload,
    overhead,
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
        write_run(folder / "bad" / name, *starts, **{"selected": "all"} | info)


if __name__ == "__main__":
    shutil.rmtree(HISTORIES, ignore_errors=True)
    make(HISTORIES)
