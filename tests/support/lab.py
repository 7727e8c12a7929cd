"""``routerspec lab`` for the tests that put load on it by themselves."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from routerspec.processes.own_code import own_environment
from tests.support.signals import default_signals


class lab:  # noqa: N801 - reads as what it is
    """``routerspec lab`` while it stays up."""

    def __init__(self, folder: Path, *options: str) -> None:
        with default_signals():
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "routerspec", "lab", *options],
                cwd=folder, env=own_environment(), stdout=subprocess.PIPE, text=True,
            )  # fmt: skip

    def __enter__(self) -> dict[str, str]:
        assert self._process.stdout is not None
        printed: dict[str, str] = {}
        for line in self._process.stdout:
            parts = line.split()
            if parts and parts[0] in {"router", "openai", "ollama", "control"}:
                printed[parts[0]] = parts[1].removesuffix("/docs")
            if "--web-host" in line:
                printed["browser"] = f"env {line.strip()}"
            if "--worker" in line:
                printed["worker"] = line.strip()
            if "--headless" in line:
                printed["headless"] = f"env {line.strip()}"
            if line.startswith("Ctrl-C"):
                break
        ports = [printed[name].rsplit(":", 1)[1] for name in ("openai", "ollama", "control")]
        return printed | {"ports": ",".join(ports)}

    def __exit__(self, *_: object) -> None:
        with self._process as process:
            process.send_signal(signal.SIGINT)
            try:
                status = process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.terminate()
                raise
        assert status == 130
