"""Scripts of `routerspec repro` for the reference router, written and played without a run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from msgspec import UNSET

from reference_router.flaws import FLAWS
from routerspec.checks import REGISTRY
from routerspec.checks.replicas import CHECKS as REPLICAS
from routerspec.plan.starts import route_plans
from routerspec.processes.router import DEFAULT_KEYS
from routerspec.promises import Limits
from routerspec.records.load_plan import FAKE_MODEL, LoadPlan
from routerspec.records.run import RouterCommand, ServiceCommand, Settings
from routerspec.repro.script import script_of, settings_of
from routerspec.repro.table import REPROS
from routerspec.targets import load_target

SHORT_TIMEOUT = {
    "slots/return-after-timeout", "answers/slow-stream", "failover/served", "failover/asked",
}  # fmt: skip


OF_REPLICAS = frozenset(check.id for check in REPLICAS)


def settings_for(check: str) -> Settings:
    """The settings of the start that a check reads."""
    lists = check.startswith("models/")
    limits = Limits(requests_per_minute=6, window_s=2.0) if check.startswith("limits/") else UNSET
    return Settings(
        limits=limits,
        cap={"slots/cap-of-one": 1, "models/one-fetch-uncapped": None}.get(check, 4),
        models_ttl_s=1.0 if lists else 600.0,
        timeout_s=1.0 if check in SHORT_TIMEOUT else 60.0,
    )


def written(
    check: str,
    flaw: str = "",
    variant: str = "",
    command: tuple[str, ...] | None = None,
    numbers: Mapping[str, int] | None = None,
) -> str:
    """The script for this check, of the router with this flaw; empty: the sound one.

    ``command`` starts another router in its place, with the same settings; ``numbers`` are those of
    the verdict, which say on which route and mode it is played.
    """
    variant = variant or (FLAWS[flaw].variant if flaw else "")
    target = load_target(f"reference:{variant}" if variant else "reference")
    assert target.start is not None
    settings = settings_for(check)
    cap, lists = settings.cap, settings.models_ttl_s
    values = {
        **DEFAULT_KEYS,
        "model": FAKE_MODEL,
        "cap": "" if cap is None else str(cap),
        "models_ttl_s": f"{lists:g}",
        "timeout_s": f"{settings.timeout_s:g}",
        "workers": str(target.promises.workers),
        "replicas": str(target.replicas if check in OF_REPLICAS else 1),
    }
    limited = settings.limits or None
    for name in ("requests_per_minute", "tokens_per_minute", "budget", "window_s"):
        limit = getattr(limited, name, None)
        values[name] = "" if limit is None else f"{limit:g}"
    router = RouterCommand(
        command=command or target.start.command,
        env=target.start.env | {"ROUTER_FLAW": flaw},
        files=target.start.files,
        ready=target.start.ready,
        values=values,
        install=target.install,
        services=tuple(
            ServiceCommand(
                name=its.name,
                command=its.command,
                env=its.env,
                files=its.files,
                install=its.install,
            )
            for its in target.services
        ),
    )
    plan = LoadPlan(
        token="abcdef",
        folder="",
        control="",
        routes=route_plans(target, DEFAULT_KEYS),
        headers=target.client_request_headers(DEFAULT_KEYS),
        list_path=target.list_path,
        promises=target.promises,
        scenarios=(),
        seed=1,
        secrets=DEFAULT_KEYS,
    )
    played = REPROS[check].round
    assert played is not None
    given = settings_of(played, plan, settings, router, numbers or {}, instances=target.instances)
    return script_of(played, given, title=check, promised=REGISTRY[check].promised, by="test")


def play(
    script: Path, *, for_s: float | None = None, timeout_s: float = 240.0
) -> subprocess.CompletedProcess[str]:
    """Run a script as its reader would; a rare violation is retried for ``for_s`` seconds."""
    more = [] if for_s is None else [str(for_s)]
    return subprocess.run(
        [sys.executable, script, *more],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


if __name__ == "__main__":
    for name in sys.argv[1:]:
        check, _, flaw = name.partition("@")
        flaw, _, variant = flaw.partition(":")
        print(written(check, flaw, variant))
