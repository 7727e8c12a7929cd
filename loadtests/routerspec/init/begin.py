"""A target file for a running router, and whether its first smoke run is possible.

Smoke runs only where the router's own model list names the fakes' model: a real provider is never
made to generate anything.
"""

from __future__ import annotations

import dataclasses
import shlex
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from routerspec.errors import HarnessError, UsageError
from routerspec.init.findings import Findings, findings
from routerspec.init.probe import ProbeResult, snapshot
from routerspec.init.toml_text import target_text
from routerspec.processes.launch import start_fakes
from routerspec.processes.ports import FakePorts, checked_url, is_taken
from routerspec.records.run import new_token
from routerspec.scrub import SECRETS
from routerspec.targets import Target, load_target


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A target file that was written."""

    path: Path
    target: Target
    """As it is attached to: with its key, without a start."""
    found: Findings
    url: str
    taken: tuple[int, ...]
    """Ports of the fakes that are in use."""

    @property
    def can_smoke(self) -> bool:
        """The router's providers are the fakes, and the fakes can be started."""
        return self.found.fakes_behind and not self.taken


def begin(
    url: str,
    *,
    key: str,
    out: Path | None,
    ports: FakePorts,
    anthropic: bool,
    allow_remote: bool,
    tell: Callable[[str], None],
) -> Draft:
    """Look at the router and write its target file, which must not exist.

    ``key`` is a reference, see ``targets.sealing``; empty: none. ``anthropic``: the Anthropic fake
    may be among its providers, and is started with the others.

    Raises UsageError or TargetNotReady.
    """
    url = checked_url(url, allow_remote=allow_remote)
    if out is not None:
        _refuse_existing(out)
    taken = tuple(port for port in ports.used(anthropic=anthropic) if is_taken(port))
    probed = _look(url, key, ports, taken, tell, anthropic=anthropic)
    found = findings(probed)
    if not found.routes:
        raise UsageError(
            f"{url} answers, but has none of the paths of OpenAI, Ollama or Anthropic. Is it a "
            "router, and does it require a --key? targets/README.md says how to write a target "
            "file by hand."
        )
    path = out or Path(f"{found.name}.toml")
    _write(path, target_text(found, url))
    word = str(path) if path.suffix == ".toml" or "/" in str(path) else f"./{path}"
    target = dataclasses.replace(load_target(word), start=None)
    if key:
        target = dataclasses.replace(target, client_key=key)
    taken = tuple(port for port in ports.used(anthropic=target.needs_anthropic) if is_taken(port))
    return Draft(path=path, target=target, found=found, url=url, taken=taken)


def _look(
    url: str,
    key: str,
    ports: FakePorts,
    taken: tuple[int, ...],
    tell: Callable[[str], None],
    *,
    anthropic: bool,
) -> ProbeResult:
    """With the fakes running where possible: a list with their models says most."""
    with ExitStack() as stack:
        if not taken:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="routerspec-"))
            try:
                stack.enter_context(
                    start_fakes(Path(folder), new_token(), ports=ports, anthropic=anthropic)
                )
            except HarnessError as error:
                tell(f"continuing without the fakes: {error}")
        return snapshot(url, SECRETS.fill(key))


def next_command(
    draft: Draft, ports: FakePorts, *, key: Sequence[str], command: str = "smoke"
) -> str:
    """The next command, once the fakes are the router's providers. ``key``: its key option."""
    words = ["routerspec", command, _as_path(draft.path), "--url", draft.url]
    words += key or (["--key", "KEY"] if draft.found.needs_key else [])
    words += ["--ports", ports.words(anthropic=draft.target.needs_anthropic)]
    return shlex.join(words)


def _as_path(path: Path) -> str:
    return str(path) if path.is_absolute() else f"./{path}"


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise UsageError(f"{path} exists already and was not changed: use -o ANOTHER.toml.")


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        _refuse_existing(path)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}. Use -o FILE.") from None
