"""The way in, for ``routerspec`` and ``python -m routerspec`` alike.

Decides one thing before anything of ours is imported: that it is ours. A folder of the user's own
called ``fake_providers`` on their PYTHONPATH must not take the place of the one that came with us.
"""

from __future__ import annotations

import sys

from routerspec.processes import own_code


def main() -> int:
    """Run the command line; its exit status."""
    sys.path[:0] = own_code.own_folders()
    from routerspec.cli import main as run  # noqa: PLC0415 - only now is the path right

    return run()


if __name__ == "__main__":
    sys.exit(main())
