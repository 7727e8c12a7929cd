"""Targets: one TOML file per router, ours in this folder, anybody's anywhere.

Decides which file a name means, what a file may say (``schema``) and the records that it is read
into (``records``). Refuses to know how a router is started.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from routerspec.errors import UsageError
from routerspec.promises import Cap, ModelList, Promises
from routerspec.records.placeholders import PLACEHOLDERS, fill
from routerspec.targets.records import (
    IMPLIED_MODES,
    Documented,
    Front,
    Mode,
    Provider,
    Route,
    Service,
    Start,
    Target,
)
from routerspec.targets.sealing import sealed

__all__ = [
    "ATTACHED_MODELS",
    "IMPLIED_MODES",
    "PLACEHOLDERS",
    "Documented",
    "Front",
    "Mode",
    "Provider",
    "Route",
    "Service",
    "Start",
    "Target",
    "attached_target",
    "builtin_targets",
    "fill",
    "load_target",
    "read_target",
    "target_file",
    "variants_of",
]

ATTACHED_MODELS: Final[Mapping[Front, Mapping[Provider, str]]] = {
    "openai": {"openai": "openai/{model}", "ollama": "ollama/{model}"},
    "anthropic": {"anthropic": "anthropic/{model}"},
    "responses": {"openai": "openai/{model}"},
}
"""Front -> route -> model id, for a router without a target file; a route leads to the provider of
its name."""

_FOLDER: Final = Path(__file__).parent
_NAME: Final = re.compile(r"(?P<file>.+?)(?::(?P<variant>[A-Za-z0-9._-]+))?")


def builtin_targets() -> list[str]:
    """Names of the targets that come with routerspec, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def variants_of(name: str) -> list[str]:
    """The variants of a built-in target, in the order of its file."""
    document = tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    return list(document.get("variant", {}))


def read_target(text: str, source: str, variant: str = "") -> Target:
    """The target that ``text`` describes, with ``variant`` merged over it when one is named.

    ``source`` names the file in errors. Every variant is checked, also the ones not requested.
    Raises UsageError with file and line.
    """
    from routerspec.targets.reader import read_target as read  # noqa: PLC0415 - imports pydantic

    return read(text, source, variant)


def target_file(name: str) -> Path:
    """The file of the target called ``name``, see ``load_target``; a path need not be there.

    Raises UsageError for a name that no built-in target has.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise UsageError(f"A target needs a name: {', '.join(builtin_targets())}, or a path.")
    name = found["file"]
    if _is_path(name):
        return Path(name)
    if name not in builtin_targets():
        raise UsageError(_no_builtin(name))
    return _FOLDER / f"{name}.toml"


def _is_path(name: str) -> bool:
    return "/" in name or name.endswith(".toml")


def load_target(name: str) -> Target:
    """The target called ``name``: ``reference``, ``haproxy:rejecting``, ``./my.toml:tuned``.

    A name with a ``/`` in it or ending in ``.toml`` is a path, any other a built-in target. The
    keys in it are references, see ``sealing``. Raises UsageError when there is no such file or
    variant, or when the file is wrong.
    """
    path = target_file(name)
    found = _NAME.fullmatch(name)
    assert found is not None
    name, variant = found["file"], found["variant"] or ""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"There is no target file {name}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The target file {name} cannot be read: {error}.") from None
    return sealed(read_target(text, name if _is_path(name) else path.name, variant))


def attached_target(
    url: str,
    cap: int | None = None,
    models_ttl_s: float | None = None,
    key: str | None = None,
    front: Front = "openai",
) -> Target:
    """A target for a running router at ``url`` that has no target file.

    ``front`` is one of ``ATTACHED_MODELS``. ``key`` is a reference, see ``sealing``; without it no
    Authorization header is sent. It promises what the arguments say and nothing else; the models do
    not say for certain to which providers they lead. Raises UsageError for a promise that is out of
    bounds.
    """
    from routerspec.targets.reader import check_promises  # noqa: PLC0415 - imports pydantic

    promises = Promises(
        cap=None if cap is None else Cap(limit=cap),
        model_list=None if models_ttl_s is None else ModelList(ttl_s=models_ttl_s),
    )
    check_promises(promises, "the command line")
    host = urlsplit(url).netloc.rpartition("@")[2]
    return Target(
        name=re.sub(r"[^A-Za-z0-9.-]+", "-", host).strip("-") or "router",
        client_key=key or "none",
        routes=tuple(
            Route(
                name=name,
                provider=name,
                front=front,
                model=model,
                modes=IMPLIED_MODES[front],
                implied=True,
                provider_stated=False,
            )
            for name, model in ATTACHED_MODELS[front].items()
        ),
        promises=promises,
    )


def _no_builtin(name: str) -> str:
    from routerspec.targets.reader import did_you_mean  # noqa: PLC0415 - imports pydantic

    names = builtin_targets()
    hint = did_you_mean(name, names)
    as_file = (
        f" A file in this folder is written ./{name}.toml." if Path(f"{name}.toml").exists() else ""
    )
    return f"There is no target {name!r}.{hint} Built in: {', '.join(names)}.{as_file}"
