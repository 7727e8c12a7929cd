"""Several model lists are promised: each is judged, and a witness names the one that it is of."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.cli import routerspec

BOTH = ("/v1/models", "/api/tags")
ONLY = "models/one-fetch-cold"
"""Of what is held, not timed: it needs one crowd a list."""


@pytest.mark.parametrize("cached", [BOTH, BOTH[:1]], ids=["both", "first"])
def test_each_promised_list_is_judged(cached: tuple[str, ...], tmp_path: Path) -> None:
    script = str(Path(__file__).parents[1] / "routers" / "lists.py")
    placed = ("{port}", "{models_ttl_s}", "{openai_url}", "{ollama_url}")
    command = json.dumps([sys.executable, "-P", script, *placed, *cached])
    (tmp_path / "lists.toml").write_text(
        f'name = "lists"\n[start]\ncommand = {command}\n'
        '[routes.openai]\nmodel = "{model}"\nmodes = ["chat"]\n[promises]\n'
        f"model_list = {{ ttl_s = 2, partial = false, path = {json.dumps(BOTH)} }}\n"
    )
    got = routerspec("verify", "./lists.toml", "--only", ONLY, "--format", "json", cwd=tmp_path)
    (check,) = got.verdict["checks"]
    if cached == BOTH:
        assert (got.status, check["outcome"]) == (0, "held"), got.out + got.err
        assert check["summary"].endswith("each of /v1/models, /api/tags")
        return
    assert (got.status, check["outcome"]) == (1, "violated"), got.out + got.err
    assert check["summary"].startswith("/api/tags: ")
    witness = json.dumps(check["witness"])
    assert "routes-1-list-2" in witness
    assert "/v1/models" not in witness
