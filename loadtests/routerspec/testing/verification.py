"""``routerspec verify`` from within somebody else's test: as a process, its verdict as a failure.

Decides what a test may say of its router and what is made of the answer. Refuses to judge.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from routerspec.processes import own_code
from routerspec.testing.target import target_text
from routerspec.testing.telling import failure, last_words

ROUTES: Final = {"openai": "openai/{model}", "ollama": "ollama/{model}"}
_END_WITHIN_S: Final = 15.0
_RUN = "import sys; sys.path[:0] = {}; from routerspec.__main__ import main; sys.exit(main())"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A verification that held."""

    verdict: dict[str, Any]
    """As ``--format json`` prints it."""
    run: Path | None
    """The run's folder."""

    @property
    def outcomes(self) -> dict[str, str]:
        """Check id -> outcome."""
        return {check["id"]: check["outcome"] for check in self.verdict["checks"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterspecVerify:
    """What the fixture hands out: call it."""

    promised: Mapping[str, Any]
    """What the test's marker says; what a call says comes first."""
    folder: Path
    runs: Path
    seed: int | None
    timeout_s: float
    control_url: Callable[[], str]
    """Of the session's fakes, which this starts where they do not run yet."""

    def __call__(self, url: str = "", **said: Any) -> Verified:
        """Verify a router; the test fails with the witness unless every promise holds.

        Which router: ``url`` (it runs already in front of ``routerspec_fakes``), ``command`` (it is
        started and ended; with ``env``, ``files`` and ``ready`` as in a target file, placeholders
        such as ``{port}``, ``{cap}`` and ``{openai_url}`` included), or ``target``, a target file.

        What it promises: ``cap``, ``models_ttl_s``, or ``promises``, a target file's table. How it
        is asked: ``routes`` (name -> model id), ``key``. What is checked: ``only`` (checks or
        groups, joined by commas), and ``options``, more words for ``routerspec verify``.
        """
        __tracebackhide__ = True
        words = self._words(url, **{**self.promised, **said})
        with _turn(self.runs):
            before = set(self.runs.iterdir())
            status, out, err = _run(words, self.timeout_s)
            made = sorted(path for path in self.runs.iterdir() if path not in before)
        try:
            verdict = json.loads(out)
        except ValueError:
            pytest.fail(last_words(status, err), pytrace=False)
        run = next((path for path in made if (path / "run.json").is_file()), None)
        if status:
            pytest.fail(failure(verdict, run), pytrace=False)
        return Verified(verdict=verdict, run=run)

    def _words(
        self,
        url: str,
        *,
        command: Sequence[str] = (),
        target: str | Path = "",
        env: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
        ready: str | None = None,
        cap: int | None = None,
        models_ttl_s: float | None = None,
        promises: Mapping[str, Any] | None = None,
        routes: Mapping[str, Any] = ROUTES,
        key: str = "",
        only: str = "",
        options: Sequence[str] = (),
    ) -> list[str]:
        if bool(url) + bool(command) + bool(target) != 1:
            raise TypeError("routerspec_verify wants one router: a url, a command or a target")
        if not target:
            text = target_text(
                name="router",
                command=command,
                env=env,
                files=files,
                ready=ready,
                routes=routes,
                key=key or ("none" if url else ""),
                promises=_promises(cap, models_ttl_s, promises),
            )
            target = self.folder / "router.toml"
            target.write_text(text, encoding="utf-8")
        elif cap is not None or models_ttl_s is not None or promises is not None:
            raise TypeError("a target file states its own promises: leave out cap and the others")
        words = ["verify", str(target), "--format", "json", "--runs", str(self.runs)]
        words += ["--url", url, "--fakes", self.control_url()] if url else []
        words += ["--only", only] if only else []
        words += ["--seed", str(self.seed)] if self.seed is not None else []
        return [*words, *options]


def _promises(
    cap: int | None, models_ttl_s: float | None, more: Mapping[str, Any] | None
) -> dict[str, Any]:
    promises = dict(more or {})
    if cap is not None:
        promises["cap"] = {"limit": cap}
    if models_ttl_s is not None:
        promises["model_list"] = {"ttl_s": models_ttl_s}
    return promises


@contextmanager
def _turn(runs: Path) -> Iterator[None]:
    """One at a time, whatever pytest-xdist does: two loads at once would measure each other."""
    runs.mkdir(parents=True, exist_ok=True)
    ignore = runs.parent / ".gitignore"
    if runs.parent.name == ".routerspec" and not ignore.exists():
        ignore.write_text("*\n")
    with (runs / ".turn").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(words: Sequence[str], timeout_s: float) -> tuple[int, str, str]:
    """(exit status, stdout, stderr) of a command of ours.

    Its environment is the test's own, so that a router it starts finds what it always finds: that
    our code is ours is seen to by its path alone.
    """
    script = _RUN.format(list(own_code.own_folders()))
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", script, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
    )
    try:
        out, err = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _, err = _end(child)
        pytest.fail(
            f"routerspec verify took longer than {timeout_s:g} s (--routerspec-timeout):\n{err}",
            pytrace=False,
        )
    except BaseException:
        _end(child)
        raise
    return child.returncode, out, err


def _end(child: subprocess.Popen[str]) -> tuple[str, str]:
    """SIGTERM has it end the router and all else that it started."""
    child.terminate()
    try:
        return child.communicate(timeout=_END_WITHIN_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.communicate()
