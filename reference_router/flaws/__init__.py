"""Every deliberate defect of the router, one at a time, and the checks that must catch it.

Each defect replaces one part of the sound router, in one place here; nothing elsewhere knows of
any. What a flaw is: ``flaw``; the others hold a family each.
"""

from __future__ import annotations

from collections.abc import Mapping

from reference_router.flaws import (
    agent_fronts,
    answers,
    balance,
    breaker,
    cache,
    cancel,
    cap,
    errors,
    failover,
    handovers,
    http,
    keys,
    leaks,
    limiters,
    limits,
    messages,
    models,
    models_more,
    overload,
    pools,
    releases,
    replicas,
    request,
    responses,
    retries,
    silence,
    slots,
    stops,
    tools,
    usage,
    wire,
)
from reference_router.flaws.flaw import Flaw

__all__ = ["FAMILIES", "FLAWS", "Flaw"]

FAMILIES = (
    cap,
    limiters,
    releases,
    slots,
    leaks,
    pools,
    handovers,
    models,
    models_more,
    answers,
    retries,
    wire,
    http,
    tools,
    usage,
    request,
    cache,
    errors,
    cancel,
    keys,
    overload,
    limits,
    messages,
    responses,
    agent_fronts,
    failover,
    balance,
    breaker,
    stops,
    silence,
    replicas,
)
"""The modules that hold them, in the order of the spec."""

FLAWS: Mapping[str, Flaw] = {flaw.name: flaw for family in FAMILIES for flaw in family.FLAWS}
"""Name -> defect."""
