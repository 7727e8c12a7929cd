"""The imports of short commands: an unused one costs every user half a second."""

from __future__ import annotations

import subprocess
import sys

import pytest

from routerspec.processes.own_code import own_environment

HEAVY = {
    "fastapi",
    "fake_providers",
    "gevent",
    "httpx",
    "httpx2",
    "locust",
    "msgspec",
    "numpy",
    "psutil",
    "pydantic",
    "reference_router",
    "rich",
    "uvicorn",
}


@pytest.mark.parametrize(
    ("arguments", "unused"),
    [
        (("--version",), HEAVY),
        (("--help",), HEAVY),
        (("compare", "--help"), {"gevent", "httpx", "httpx2", "locust", "uvicorn"}),
    ],
)
def test_a_command_imports_no_library_that_it_does_not_use(
    arguments: tuple[str, ...], unused: set[str]
) -> None:
    code = (
        "import sys; from routerspec.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        env=own_environment(), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert "routerspec" in done.stdout
    assert not unused & set(done.stderr.split())


def test_every_command_can_be_imported() -> None:
    """The command line's table names a module and a function for each of them."""
    code = (
        "import sys; from routerspec.cli import COMMANDS, parser\n"
        "for name in COMMANDS:\n"
        "    try: parser([name]).parse_args([name, '--help'])\n"
        "    except SystemExit as ended: assert ended.code == 0\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=own_environment(), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.count("usage: routerspec") == 13
