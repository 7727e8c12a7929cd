"""The parts of a router that is a replica: its cap is one over all of them."""

from __future__ import annotations

import secrets
from typing import NamedTuple

from reference_router.cluster.front import ReplicaFront
from reference_router.cluster.lease import Lease
from reference_router.cluster.line import SCRIPT, Line
from reference_router.cluster.slots import Slots
from reference_router.front import Front
from reference_router.limiter import Limiter
from reference_router.settings import Settings


class Shared(NamedTuple):
    """In place of a router's own parts."""

    front: Front
    line: Line | None


def joined(
    settings: Settings,
    *,
    lease: type[Lease] = Lease,
    slots: type[Slots] = Slots,
    script: str = SCRIPT,
) -> Shared:
    """Those of a replica with these settings. Without a cap there is nothing to share."""
    if settings.max_concurrency is None:
        return Shared(Front(Limiter(None)), None)
    held = lease(settings.lease_s)
    # Each process has a name of its own: what one left behind is not for the next.
    name = f"{settings.replica}-{secrets.token_hex(4)}"
    own = slots(name, settings.max_concurrency, held)
    line = Line(
        settings.redis_url,
        own,
        held,
        number=settings.replica,
        replicas=settings.replicas,
        script=script,
    )
    return Shared(ReplicaFront(own), line)
