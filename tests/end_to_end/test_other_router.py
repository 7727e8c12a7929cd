"""A sound router that is not ours, on another stack, is never accused: not on a busy machine.

pytest -m slow -s tests/end_to_end/test_other_router.py
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.routers import other
from tests.support.cli import busy, routerspec

RUNS = 20
PROCESSORS = 2

TARGET = """
name = "other"

[start]
command = {command}

[routes.openai]
model = "{{model}}"
modes = ["chat", "stream", "embeddings", "completions"]

[routes.ollama]
front = "ollama"
model = "{{model}}"
modes = ["chat", "stream", "embeddings", "completions"]

[promises]
cap = {{ limit = 4, scope = "global", overload = "queue" }}
cancel = {{ within_s = 1.0 }}
retries = {{ max = 0 }}
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    script = str(Path(other.__file__).resolve())
    command = [sys.executable, "-P", script, "{port}", "{cap}", "{openai_url}", "{ollama_url}"]
    path = tmp_path / "other.toml"
    path.write_text(TARGET.format(command=json.dumps(command)), encoding="utf-8")
    return path


def judged(target: Path) -> tuple[int, str, Any]:
    """(exit status, outcome of cap/under-load, its numbers) of one run."""
    options = ("--only", "cap/under-load", "--format", "json")
    run = routerspec("verify", str(target), *options, cwd=target.parent)
    check = next(one for one in run.verdict["checks"] if one["id"] == "cap/under-load")
    return run.status, check["outcome"], check.get("numbers")


def test_a_sound_router_on_another_stack_is_not_accused(target: Path) -> None:
    with busy(PROCESSORS):
        status, outcome, numbers = judged(target)
    print(f"\n{outcome}: {numbers}")
    assert (status, outcome) == (0, "held")


@pytest.mark.slow
def test_nor_is_it_in_twenty_runs(target: Path) -> None:
    outcomes: Counter[tuple[int, str]] = Counter()
    longest = 0.0
    with busy(PROCESSORS):
        for number in range(RUNS):
            began = time.monotonic()
            status, outcome, numbers = judged(target)
            longest = max(longest, time.monotonic() - began)
            print(f"\n{number + 1}: exit {status}, {outcome}: {numbers}")
            outcomes[status, outcome] += 1
    print(f"\nbusy: {dict(outcomes)}, longest {longest:.1f} s")
    assert outcomes == {(0, "held"): RUNS}
