"""How our own programs are named, whatever else is on the PATH."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from routerspec.processes import own_code


def test_the_locust_to_type_is_that_of_this_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "locust"
    foreign.write_text("#!/bin/sh\nexit 1\n")
    foreign.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert own_code.locust_command().split()[0] in {
        str(Path(sys.executable).with_name("locust")),
        sys.executable,
    }
