"""The table of flaws in the reference router's README: ``python -m tests.router.flaws.table``."""

from __future__ import annotations

from pathlib import Path

import reference_router
from reference_router.flaws import FLAWS

README = Path(reference_router.__file__).with_name("README.md")
HEAD = "| name | description | checks that must detect it |\n|---|---|---|\n"


def rows() -> list[str]:
    """One row a flaw, in the order of the registry."""
    return [
        f"| `{flaw.name}` | {flaw.story} | {', '.join(f'`{check}`' for check in flaw.trips)} |"
        for flaw in FLAWS.values()
    ]


def with_rows(text: str) -> str:
    """The page with the rows of its table of flaws made anew."""
    before, rule, after = text.partition(HEAD)
    rest = after.lstrip("\n").splitlines(keepends=True)
    behind = "".join(rest[next(n for n, line in enumerate(rest) if not line.startswith("|")) :])
    return before + rule + "".join(f"{row}\n" for row in rows()) + behind


if __name__ == "__main__":
    README.write_text(with_rows(README.read_text(encoding="utf-8")), encoding="utf-8")
