"""The entry point of ``python -m routerspec``.

Before anything else is imported it puts our own packages first on the path: a user's folder called
``fake_providers`` on PYTHONPATH must not take the place of ours.
"""

from __future__ import annotations

import sys
import traceback

_INTERNAL_ERROR = 4


def main() -> int:
    """Run the command line; its exit status."""
    try:
        from routerspec.processes import own_code  # noqa: PLC0415 - may fail

        sys.path[:0] = own_code.own_folders()
        from routerspec.cli import main as run  # noqa: PLC0415 - after the path is set
    except Exception:  # Python would exit with 1, which means a violation.
        traceback.print_exc()
        print("routerspec: it cannot be imported: is it installed whole?", file=sys.stderr)  # noqa: T201
        return _INTERNAL_ERROR
    return run()


if __name__ == "__main__":
    sys.exit(main())
