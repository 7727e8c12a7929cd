"""The entry point of the command ``routerspec``, under a name of its own.

A package called ``routerspec`` on a user's PYTHONPATH would take the place of ours, and whatever
it does, Python's exit status for it is 1, which means "violated". This module puts its own folder
first on the path, and what still goes wrong before our command line runs is an internal error.
"""

from __future__ import annotations

import sys
from pathlib import Path

_INTERNAL_ERROR = 4


def main() -> int:
    """Run the command line; its exit status."""
    ours = Path(__file__).resolve().parent
    sys.path.insert(0, str(ours))
    try:
        import routerspec  # noqa: PLC0415 - after the path is set
    except BaseException as error:  # a foreign package may raise anything, SystemExit too
        return _fails(f"the package routerspec cannot be imported: {error!r}")
    found = Path(routerspec.__file__ or "").resolve()
    if found.parent.parent != ours:
        return _fails(
            f"another package of that name was imported before ours: {found}. Start without it: "
            "look at PYTHONPATH and at sitecustomize."
        )
    from routerspec.__main__ import main as run  # noqa: PLC0415 - after the path is set

    return run()


def _fails(text: str) -> int:
    print(f"routerspec: {text}", file=sys.stderr)  # noqa: T201
    return _INTERNAL_ERROR
