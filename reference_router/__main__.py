"""``python -m reference_router``: options, settings, and the errors that exit with 2.

Refuses to know routes, and does not load them before the options are valid.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from reference_router.settings import Settings, SettingsError, from_environment

USAGE = 2


def main(words: list[str] | None = None) -> int:
    """Serve until stopped; 2 if the options or the environment are invalid."""
    parser = argparse.ArgumentParser(
        prog="reference_router",
        description="A small LLM router that keeps its promises. Settings: ROUTER_* variables.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--flaw", metavar="NAME", help="break one promise; a wrong name lists all")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    asked = parser.parse_args(words)
    try:
        settings = from_environment(os.environ)
    except SettingsError as error:
        return _refuse(str(error))
    if asked.flaw is not None:
        settings = replace(settings, flaw=asked.flaw)
    return _serve(settings, asked.host, asked.port)


class _Version(argparse.Action):
    """Prints the version; looks it up only then, since the import costs every start 40 ms."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        from importlib.metadata import version  # noqa: PLC0415

        print(version("routerspec"))  # noqa: T201
        parser.exit()


def _serve(settings: Settings, host: str, port: int) -> int:
    from reference_router import server  # noqa: PLC0415 - half a second that --version need not pay

    if settings.flaw:
        from reference_router.flaws import FLAWS  # noqa: PLC0415 - no other start pays for them

        if settings.flaw not in FLAWS:
            return _refuse(f"There is no flaw {settings.flaw!r}. There are: {', '.join(FLAWS)}.")
    return server.serve(settings, host, port)


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"reference_router: {sentence}\n")
    return USAGE


if __name__ == "__main__":
    sys.exit(main())
