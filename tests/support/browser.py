"""Chromium, where it is installed: a page as a browser has read, laid out and run it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""


def browse(file: Path, *options: str, profile: Path | None = None) -> str:
    """The page's elements after Chromium has read, laid out and, where it may, run it.

    ``profile``: the browser's own folder; None: beside the file.
    """
    if not CHROMIUM:
        pytest.skip("no Chromium here: the page is not opened in a browser")
    its = profile or file.parent / "profile"
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={its}",
         "--dump-dom", *options, file.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout
