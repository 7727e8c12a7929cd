"""``routerspec verify`` called from a test: run as a process, its verdict a test's failure."""

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
from routerspec.testing.failure_text import failure, no_verdict
from routerspec.testing.fakes import RouterspecFakes
from routerspec.testing.target import target_text

ROUTES: Final = {"openai": "openai/{model}", "ollama": "ollama/{model}"}
_KEY: Final = "ROUTERSPEC_CLIENT_KEY"
_EXITS_WITHIN_S: Final = 15.0
_RUN = "import sys; sys.path[:0] = {}; from routerspec.__main__ import main; sys.exit(main())"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A verification that held."""

    verdict: dict[str, Any]
    """As ``--format json`` prints it."""
    run: Path | None
    """The run's directory."""

    @property
    def outcomes(self) -> dict[str, str]:
        """Check id -> outcome."""
        return {check["id"]: check["outcome"] for check in self.verdict["checks"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterspecVerify:
    """The value of the fixture: call it to verify a router."""

    defaults: Mapping[str, Any]
    """Arguments from the test's marker; those of a call take precedence."""
    folder: Path
    runs: Path
    seed: int | None
    timeout_s: float
    fakes: Callable[[], RouterspecFakes]
    """The session's, which this starts if they are not running."""

    def __call__(self, url: str | Sequence[str] = "", **arguments: Any) -> Verified:
        """Verify a router; the test fails with the witness unless every promise holds.

        The router is one of ``url`` (already running in front of ``routerspec_fakes``; several:
        those of its replicas), ``command``
        (started and stopped here; with ``env``, ``files`` and ``ready`` as in a target file, with
        placeholders such as ``{port}``, ``{cap}`` and ``{openai_url}``), or ``target``, a target
        file.

        Its promises: ``cap``, ``models_ttl_s``, or ``promises``, a target file's table. Requests:
        ``routes`` (name -> model id, or a route's table), ``key``. With ``command``, ``instances``
        (provider -> its number of servers, as in ``{openai_urls}``), ``replicas`` and ``services``
        (tables [[service]] of a target file). ``cap`` is one over all replicas. ``only``: checks or
        groups, comma-separated. ``options``: further options of ``routerspec verify``.
        """
        __tracebackhide__ = True
        arguments = {**self.defaults, **arguments}
        env = {}
        if (key := arguments.get("key", "")) and _is_secret(key):
            env = {_KEY: key}
            arguments["key"] = f"env:{_KEY}"
        args = self._args(url, **arguments)
        with _turn(self.runs):
            before = set(self.runs.iterdir())
            if url:
                env[own_code.CONTROL_VARIABLE] = self.fakes().control_token
            status, out, err = _run(args, self.timeout_s, env)
            made = sorted(path for path in self.runs.iterdir() if path not in before)
        try:
            verdict = json.loads(out)
        except ValueError:
            pytest.fail(no_verdict(status, err), pytrace=False)
        if status and not verdict["checks"]:  # It ended before anything was judged.
            pytest.fail(no_verdict(status, err), pytrace=False)
        run = next((path for path in made if (path / "run.json").is_file()), None)
        if status:
            pytest.fail(failure(verdict, run), pytrace=False)
        return Verified(verdict=verdict, run=run)

    def _args(
        self,
        url: str | Sequence[str],
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
        instances: Mapping[str, int] | None = None,
        replicas: int = 1,
        services: Sequence[Mapping[str, Any]] = (),
        only: str = "",
        options: Sequence[str] = (),
    ) -> list[str]:
        if bool(url) + bool(command) + bool(target) != 1:
            raise TypeError("routerspec_verify takes exactly one of url, command and target")
        urls = [url] if isinstance(url, str) else [*url]
        if (replicas != 1 or services) and not command:
            raise TypeError("replicas and services go with command: a target file states its own")
        if instances and not command:
            raise TypeError(
                "instances go with command: a target file states its own, and routerspec_fakes are "
                "one instance of each provider"
            )
        if not target:
            text = target_text(
                name="router",
                command=command,
                env=env,
                files=files,
                ready=ready,
                routes=routes,
                key=key or ("none" if url else ""),
                instances=instances,
                replicas=replicas,
                services=services,
                promises=_promises(
                    cap, models_ttl_s, promises, together=replicas > 1 or len(urls) > 1
                ),
            )
            target = self.folder / "router.toml"
            target.write_text(text, encoding="utf-8")
        elif cap is not None or models_ttl_s is not None or promises is not None:
            raise TypeError(
                "a target file states its own promises: omit cap, models_ttl_s and promises"
            )
        args = ["verify", str(target), "--format", "json", "--runs", str(self.runs)]
        if url:
            args += [word for each in urls for word in ("--url", each)]
            args += ["--fakes", self.fakes().control_url]
        args += ["--only", only] if only else []
        args += ["--seed", str(self.seed)] if self.seed is not None else []
        return [*args, *options]


def _is_secret(key: str) -> bool:
    """Not a placeholder, ``none`` or a reference: it does not belong into a file."""
    return key != "none" and not key.startswith("env:") and "{" not in key


def _promises(
    cap: int | None, models_ttl_s: float | None, more: Mapping[str, Any] | None, *, together: bool
) -> dict[str, Any]:
    """``together``: the cap is one over all replicas."""
    promises = dict(more or {})
    if cap is not None:
        promises["cap"] = {"limit": cap, **({"scope": "cluster"} if together else {})}
    if models_ttl_s is not None:
        promises["model_list"] = {"ttl_s": models_ttl_s}
    return promises


@contextmanager
def _turn(runs: Path) -> Iterator[None]:
    """One at a time, also under pytest-xdist: two loads at once would disturb each other."""
    runs.mkdir(parents=True, exist_ok=True)
    ignore = runs.parent / ".gitignore"
    if runs.parent.name == ".routerspec" and not ignore.exists():
        ignore.write_text("*\n")
    with (runs / ".turn").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(args: Sequence[str], timeout_s: float, secrets: Mapping[str, str]) -> tuple[int, str, str]:
    """(exit status, stdout, stderr) of a command of ours.

    Its environment is the test's, so that a router that it starts has its usual one, and the
    variables with the client's key and the fakes' token (``secrets``); the module path alone makes
    sure that our own code is imported.
    """
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    script = _RUN.format(list(own_code.own_folders()))
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", script, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env | dict(secrets),
    )
    try:
        out, err = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        _, err = _stop(child)
        pytest.fail(
            f"routerspec verify timed out after {timeout_s:g} s (--routerspec-timeout):\n{err}",
            pytrace=False,
        )
    except BaseException:
        _stop(child)
        raise
    return child.returncode, out, err


def _stop(child: subprocess.Popen[str]) -> tuple[str, str]:
    """End it by SIGTERM, on which it stops the router and its other child processes."""
    child.terminate()
    try:
        return child.communicate(timeout=_EXITS_WITHIN_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.communicate()
