"""A target file for ``late.py``: the built-in reference target, started late."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from routerspec import targets
from tests.routers import late

_COMMAND = 'command = ["python", "-m", "reference_router", "--port", "{port}"]'


def late_target(folder: Path, wait_s: float, *how: str) -> str:
    """Write it to ``folder``; returns its name there. ``how``: further arguments of ``late.py``."""
    text = (Path(targets.__file__).parent / "reference.toml").read_text(encoding="utf-8")
    script = str(Path(late.__file__).resolve())
    command = json.dumps([sys.executable, script, "{port}", str(wait_s), *how])
    assert _COMMAND in text
    name = f"./late-{wait_s * 1e3:g}-ms.toml"
    (folder / name).write_text(text.replace(_COMMAND, f"command = {command}"), encoding="utf-8")
    return name
