"""The pytest plugin: fixtures ``routerspec_fakes`` and ``routerspec_verify``, a marker, options.

It is loaded in every pytest run where routerspec is installed, so it imports nothing but pytest
until a fixture is used, and then only ``routerspec.testing``, which needs only the standard
library. Fakes, load and judge run in processes of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from routerspec.testing.fakes import RouterspecFakes
    from routerspec.testing.verification import RouterspecVerify

MARKER = (
    "routerspec(**arguments): default arguments of routerspec_verify in this test, e.g. cap=5, "
    "models_ttl_s=30, only='cap'"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Our options, all prefixed."""
    group = parser.getgroup("routerspec", "black-box tests of LLM routers")
    group.addoption(
        "--routerspec-runs",
        metavar="DIR",
        default=".routerspec/runs",
        help="directory for runs of routerspec_verify (default .routerspec/runs in the rootdir)",
    )
    group.addoption(
        "--routerspec-seed", metavar="N", type=int, help="random seed of the mixed load"
    )
    group.addoption(
        "--routerspec-timeout",
        metavar="S",
        type=float,
        default=600.0,
        help="timeout of one verification, in seconds (default 600)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, which ``--strict-markers`` requires."""
    config.addinivalue_line("markers", MARKER)


@pytest.fixture(scope="session")
def routerspec_fakes(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RouterspecFakes]:
    """Fake OpenAI, Ollama and Anthropic servers on free ports: URLs, hold and release, ledger."""
    from routerspec.testing.fakes import running_fakes  # noqa: PLC0415 - nothing until used

    with running_fakes(tmp_path_factory.mktemp("routerspec")) as fakes:
        yield fakes


@pytest.fixture
def routerspec_verify(request: pytest.FixtureRequest, tmp_path: Path) -> RouterspecVerify:
    """Call it with a router and its promises; the test fails, with the witness, on a violation.

    ``routerspec_verify(command=[...], cap=5)`` starts the router; ``routerspec_verify(url, cap=5)``
    uses one that is already running in front of ``routerspec_fakes``.
    """
    from routerspec.testing.verification import RouterspecVerify  # noqa: PLC0415

    given = (marker.kwargs for marker in request.node.iter_markers("routerspec"))
    defaults = {name: value for kwargs in reversed(list(given)) for name, value in kwargs.items()}
    return RouterspecVerify(
        defaults=defaults,
        folder=tmp_path,
        runs=request.config.rootpath / request.config.getoption("--routerspec-runs"),
        seed=request.config.getoption("--routerspec-seed"),
        timeout_s=request.config.getoption("--routerspec-timeout"),
        fakes=lambda: request.getfixturevalue("routerspec_fakes"),
    )
