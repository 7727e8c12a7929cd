"""The parts of a router that is a replica: its cap and its model list are those of all."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import NamedTuple

from reference_router.cluster.front import ReplicaFront
from reference_router.cluster.lease import Lease
from reference_router.cluster.line import SCRIPT, Line
from reference_router.cluster.shared_list import SharedList
from reference_router.cluster.slots import Slots
from reference_router.front import Front
from reference_router.limiter import Limiter
from reference_router.model_list import Fetch, ModelList
from reference_router.settings import Settings


class Shared(NamedTuple):
    """In place of a router's own parts."""

    front: Front
    models: ModelList
    line: Line | None


def joined(
    settings: Settings,
    fetchers: Mapping[str, Fetch],
    *,
    lease: type[Lease] = Lease,
    slots: type[Slots] = Slots,
    models: type[SharedList] = SharedList,
    script: str = SCRIPT,
) -> Shared:
    """Those of a replica with these settings. ``fetchers``: see ModelList."""
    # Each process has a name of its own: what one left behind is not for the next.
    name = f"{settings.replica}-{secrets.token_hex(4)}"
    shared = models(
        fetchers,
        settings.models_cache_ttl_s,
        url=settings.redis_url,
        replica=name,
        lock_s=settings.lease_s,
    )
    if settings.max_concurrency is None:
        return Shared(Front(Limiter(None)), shared, None)
    held = lease(settings.lease_s)
    own = slots(name, settings.max_concurrency, held)
    line = Line(
        settings.redis_url,
        own,
        held,
        number=settings.replica,
        replicas=settings.replicas,
        script=script,
    )
    return Shared(ReplicaFront(own), shared, line)
