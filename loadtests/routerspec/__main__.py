"""The entry point of ``routerspec`` and ``python -m routerspec``.

Before anything else is imported it puts our own packages first on the path: a user's folder called
``fake_providers`` on PYTHONPATH must not take the place of ours.
"""

from __future__ import annotations

import sys

from routerspec.processes import own_code


def main() -> int:
    """Run the command line; its exit status."""
    sys.path[:0] = own_code.own_folders()
    from routerspec.cli import main as run  # noqa: PLC0415 - after the path is set

    return run()


if __name__ == "__main__":
    sys.exit(main())
