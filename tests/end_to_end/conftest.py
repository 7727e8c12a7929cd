"""The built wheel, and an environment with it, once for all tests that are strangers to us."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import wheel as built_wheel


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_wheel.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment that has the wheel."""
    return built_wheel.fresh_environment(wheel, tmp_path_factory.mktemp("fresh"))
