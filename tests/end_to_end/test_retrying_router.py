"""Retries on another stack than ours: sound ones hold, those that ignore Retry-After are found."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.cli import routerspec

ONLY = "answers/cut,answers/error,answers/no-replay,answers/attempts"


@pytest.mark.parametrize(
    ("more", "outcome", "status"), [((), "held", 0), (("hasty",), "violated", 1)]
)
def test_a_router_that_tries_again(
    more: tuple[str, ...], outcome: str, status: int, tmp_path: Path
) -> None:
    script = str(Path(__file__).parents[1] / "routers" / "retrying.py")
    command = json.dumps([sys.executable, script, "{port}", "{cap}", "{openai_url}", *more])
    (tmp_path / "retrying.toml").write_text(
        f'name = "retrying"\n[start]\ncommand = {command}\n'
        '[routes.openai]\nmodel = "{model}"\nmodes = ["chat", "stream", "embeddings"]\n'
        '[promises]\nkeys = "passthrough"\ncap = { limit = 4 }\n'
        "retries = { max = 1, honours_retry_after = true }\n"
    )
    got = routerspec("verify", "./retrying.toml", "--only", ONLY, "--format", "json", cwd=tmp_path)
    assert got.status == status, got.out + got.err
    checks = {check["id"]: check for check in got.verdict["checks"]}
    attempts = checks.pop("answers/attempts")
    assert attempts["outcome"] == outcome, got.out
    assert {check["outcome"] for check in checks.values()} == {"held"}
    if more:
        assert "Retry-After 1 s" in attempts["summary"]
    else:
        assert attempts["numbers"]["after Retry-After"] == 2
        assert attempts["numbers"]["most"] == 2
