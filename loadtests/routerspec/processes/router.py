"""Start the router under test, or attach to one: files, port, environment, readiness, version."""

from __future__ import annotations

import http.client
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from routerspec.errors import TargetNotReady, UsageError
from routerspec.processes import own_code
from routerspec.processes.child import Child, output_of, words
from routerspec.processes.foreign import http_status
from routerspec.processes.handles import Fakes, Router
from routerspec.processes.ports import checked_url, free_port, is_taken
from routerspec.processes.readiness import (
    ANSWER_WITHIN_S,
    PortTaken,
    Server,
    await_ready,
    not_started,
)
from routerspec.records.load_plan import FAKE_MODEL
from routerspec.records.run import RouterCommand, ServiceCommand, Settings, write_private
from routerspec.scrub import SECRETS
from routerspec.targets import Service, Start, Target, fill

DEFAULT_KEYS: Final = {
    "client_key": "rs-client-key",
    "openai_key": "rs-openai-key",
    "ollama_key": "rs-ollama-key",
    "anthropic_key": "rs-anthropic-key",
}
"""Keys of the client and the providers where no secret ones are needed."""
NO_SERVICES: Final[Mapping[str, str]] = {}
UNKNOWN_VERSION: Final = "unknown"
"""Where there is no version command, or it fails: mostly the router is not installed."""
_VERSION_WITHIN_S: Final = 60.0
_TRIES: Final = 3


def new_keys() -> dict[str, str]:
    """``DEFAULT_KEYS``, each with a random secret: one that is found elsewhere has leaked."""
    keys = {name: f"{word}-{secrets.token_hex(8)}" for name, word in DEFAULT_KEYS.items()}
    for name, key in keys.items():
        SECRETS.add(name, key)
    return keys


def installed_version(target: Target) -> str:
    """First line that the version command prints; ``UNKNOWN_VERSION`` when it cannot be had."""
    if not target.version_command:
        return UNKNOWN_VERSION
    command, env = own_code.resolve(target.version_command)
    output = output_of(command, env, _VERSION_WITHIN_S) or ""
    lines = (line.strip() for line in output.splitlines())
    return next((line for line in lines if line), UNKNOWN_VERSION)


def start_router(
    target: Target,
    settings: Settings,
    fakes: Fakes,
    folder: Path,
    *,
    keys: Mapping[str, str] | None = None,
    extra_env: Mapping[str, str] | None = None,
    port: int = 0,
    replica: int = 1,
    services: Mapping[str, str] = NO_SERVICES,
) -> Router:
    """Start the router in front of ``fakes``; it is ready when this returns. Port 0: a free one.

    ``keys`` are values for ``{client_key}`` and the keys of the providers (``DEFAULT_KEYS``).
    ``services``: placeholder -> port of what it shares with others. Its files go to
    ``folder/router/``, its words to ``folder/router.log``; those of ``replica`` 2 to ``router-2``.
    Raises TargetNotReady, or UsageError for a target without ``[start]``.
    """
    if target.start is None:
        raise UsageError(
            f"{target.name} has no [start] in its target file: start it yourself and use --url."
        )
    kept = router_command(target, target.start, settings, extra_env)
    name = "router"
    if replica > 1:
        name = f"router-{replica}"
    else:
        write_private(folder / "router.json", msgspec.json.encode(kept))
    own = folder / name
    own.mkdir(exist_ok=True)
    for tries_left in reversed(range(_TRIES)):
        chosen = port or free_port()
        if is_taken(chosen):
            raise TargetNotReady(
                f"Port {chosen} is already in use: stop what listens there "
                f"(`ss -ltnp 'sport = :{chosen}'`), or choose another for {target.name}."
            )
        values = placeholder_values(settings, fakes, chosen, own, keys)
        values |= {**_stand_ins(target.instances, fakes.urls), **services}
        values["replica"] = str(replica)
        try:
            return _start_router(target, target.start, values, folder, extra_env or {}, name=name)
        except PortTaken as fault:
            if port or not tries_left:
                raise TargetNotReady(str(fault)) from None
    raise AssertionError


def attach(url: str, *, allow_remote: bool = False) -> Router:
    """A router that is already running and not ours to stop. Any HTTP answer will do.

    Raises UsageError for a URL that cannot be meant, TargetNotReady when nothing answers.
    """
    url = checked_url(url, allow_remote=allow_remote)
    try:
        http_status(url, "/v1/models", ANSWER_WITHIN_S * 5)
    except (OSError, http.client.HTTPException) as error:
        raise TargetNotReady(
            f"No router answers at {url} ({words(error)}): start it first, or correct --url."
        ) from None
    return Router(child=None, log=Path(), url=url)


def placeholder_values(
    settings: Settings,
    fakes: Fakes,
    port: int,
    folder: Path,
    keys: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Placeholder -> value for one start. A value that is not set is empty."""
    return {
        **DEFAULT_KEYS,
        **(keys or {}),
        "port": str(port),
        "replica": "1",
        "model": FAKE_MODEL,
        "dir": str(folder.resolve()),
        **_settings(settings),
        **fakes.urls,
    }


def _stand_ins(instances: Mapping[str, int], urls: Mapping[str, str]) -> dict[str, str]:
    """Placeholder -> URL of a provider's first server where further instances are not served.

    Speed is measured with one server of each provider, whose evidence is in one file.
    """
    found: dict[str, str] = {}
    for base, count in instances.items():
        first = urls.get(f"{base}_url", "")
        if count > 1 and first and f"{base}_url_2" not in urls:
            found |= {f"{base}_url_{number}": first for number in range(2, count + 1)}
            found[f"{base}_urls"] = ",".join([first] * count)
    return found


def router_command(
    target: Target,
    start: Start,
    settings: Settings,
    extra_env: Mapping[str, str] | None = None,
) -> RouterCommand:
    """How the router is started with these settings, for a reproduction; without any key."""
    env = start.env | dict(extra_env or {})
    parts: list[Start | Service] = [start, *target.services]
    texts = [t for each in parts for t in (*each.command, *each.env.values(), *each.files.values())]
    return RouterCommand(
        command=start.command,
        env=env,
        files=start.files,
        ready=start.ready,
        values={"model": FAKE_MODEL, **_settings(settings)},
        install=target.install,
        references=SECRETS.references((*texts, *env.values())),
        services=tuple(
            ServiceCommand(
                name=service.name,
                command=service.command,
                env=service.env,
                files=service.files,
                install=service.install,
            )
            for service in target.services
        ),
    )


def write_files(files: Mapping[str, str], values: Mapping[str, str], folder: Path) -> None:
    """Write these, name -> content; each in one step, since a router may watch its own."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        write_private(fresh, SECRETS.fill(fill(text, values)))
        fresh.replace(path)


def _settings(settings: Settings) -> dict[str, str]:
    limits = settings.limits or None
    return {
        "cap": _number(settings.cap),
        "models_ttl_s": _number(settings.models_ttl_s),
        "timeout_s": _number(settings.timeout_s),
        "workers": str(settings.workers),
        "replicas": str(settings.replicas),
        "requests_per_minute": _number(limits.requests_per_minute if limits else None),
        "tokens_per_minute": _number(limits.tokens_per_minute if limits else None),
        "budget": _number(limits.budget if limits else None),
        "window_s": _number(limits.window_s if limits else None),
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.15g}"


def _start_router(
    target: Target,
    start: Start,
    values: Mapping[str, str],
    folder: Path,
    extra_env: Mapping[str, str],
    *,
    name: str,
) -> Router:
    """``name``: that of its folder."""
    log, url = folder / f"{name}.log", f"http://127.0.0.1:{values['port']}"
    child = start_server(
        start, values, folder / name, log,
        name=target.name, url=url, install=target.install, extra_env=extra_env,
    )  # fmt: skip
    return Router(child=child, log=log, url=url)


def start_server(
    start: Start | Service,
    values: Mapping[str, str],
    folder: Path,
    log: Path,
    *,
    name: str,
    url: str,
    install: str,
    extra_env: Mapping[str, str] | None = None,
) -> Child:
    """Start a server with its files in ``folder``; it answers at ``url`` when this returns.

    ``name``: what messages call it. ``values``: placeholder -> value. Raises PortTaken,
    TargetNotReady.
    """
    write_files(start.files, values, folder)
    command, env = own_code.resolve(tuple(SECRETS.fill(fill(w, values)) for w in start.command))
    env |= {variable: SECRETS.fill(fill(text, values)) for variable, text in start.env.items()}
    env |= extra_env or {}
    try:
        child = Child(command, env=env, log=log)
    except OSError as error:
        raise not_started(name, command[0], error, install) from None
    server = Server(
        name=name,
        child=child,
        url=url,
        ready=start.ready,
        within_s=start.ready_timeout_s,
        install=install,
    )
    try:
        await_ready(server)
    except BaseException:
        child.stop()
        raise
    return child
