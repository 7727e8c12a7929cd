"""Target files for ``broken.py``, one for each way in which its router is broken."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.routers import broken

_TARGET = """
name = "{how}"

[start]
command = {command}

[routes.openai]
model = "{{model}}"
modes = ["chat", "stream"]

[routes.ollama]
front = "ollama"
model = "{{model}}"
modes = ["chat", "stream"]

[promises]
cap = {{ limit = 4, scope = "global", overload = "queue" }}
cancel = {{ within_s = 1.0 }}
retries = {{ max = 0 }}
"""


def broken_target(folder: Path, how: str) -> Path:
    """Write it to ``folder``. ``how``: a key of ``broken.HOW``."""
    script = str(Path(broken.__file__).resolve())
    command = [sys.executable, "-P", script, how]
    command += ["{port}", "{cap}", "{openai_url}", "{ollama_url}"]
    path = folder / f"{how}.toml"
    path.write_text(_TARGET.format(how=how, command=json.dumps(command)), encoding="utf-8")
    return path
