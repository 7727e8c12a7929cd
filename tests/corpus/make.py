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
    agents,
    answers,
    balance,
    breaker,
    cancel,
    cap,
    failover,
    faulty_providers,
    http,
    keys,
    limits,
    model_list_faults,
    models,
    overhead,
    overload,
    replicas,
    request_limits,
    requests,
    slots,
    stops,
    wire,
    wire_agents,
)

__all__ = ["BAD", "GOOD", "HISTORIES", "STORIES", "make"]

HISTORIES = Path(__file__).parent / "histories"
STORIES = (
    cap,
    limits,
    slots,
    models,
    model_list_faults,
    answers,
    faulty_providers,
    agents,
    wire,
    wire_agents,
    http,
    cancel,
    keys,
    overload,
    overhead,
    requests,
    stops,
    failover,
    request_limits,
    balance,
    breaker,
    replicas,
)
"""The modules that define the histories."""


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
