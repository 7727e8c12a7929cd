"""Which show a check's violation is shown by, and how it is told to go about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """How a check's violation is shown."""

    file: str
    """The module of ``shows``."""
    how: str = ""
    mode: str = ""
    """The mode that it needs; empty: any."""
    together: bool = False
    """Over all routes at once, not one after the other."""
    every: bool = False
    """On embeddings and completions too, where no route is known to be the worst."""
    for_s: float = 0.0
    """What needs luck is tried again for so long; 0: once is enough."""


_ENDINGS: Final = {
    "error": "",
    "reset": "",
    "timeout": "",
    "malformed": "",
    "cut": "stream",
    "hang-up-queued": "",
    "hang-up-before-head": "stream",
    "hang-up-mid-stream": "stream",
    "hang-up-non-streaming": "chat",
}
"""How a request ends badly -> the mode that it takes."""

_RARE_S: Final = 60.0

SHOWS: Final = {
    "cap/each-route": Show(file="held", for_s=_RARE_S),
    "cap/burst": Show(file="held", how="burst", for_s=_RARE_S),
    "cap/over-time": Show(file="held", how="long", for_s=_RARE_S),
    "cap/across-routes": Show(file="held", together=True, for_s=_RARE_S),
    "cap/streams": Show(file="held", how="first", mode="stream", for_s=_RARE_S),
    "cap/after-failures": Show(file="held", how="failures", for_s=_RARE_S),
    "cap/attempts": Show(file="held", how="second", for_s=_RARE_S),
    "cap/replicas": Show(file="held", for_s=_RARE_S),
    "cap/under-load": Show(file="load", together=True, for_s=_RARE_S),
    "cap/hang-ups": Show(file="hang_ups", for_s=_RARE_S),
    "slots/reached": Show(file="reached"),
    "slots/handover": Show(file="handover"),
    "slots/cap-of-one": Show(file="cap_of_one"),
    **{
        f"slots/return-after-{how}": Show(
            file="after_ending",
            how=how,
            mode=mode,
            for_s=_RARE_S if how in {"hang-up-queued", "hang-up-before-head"} else 0.0,
        )
        for how, mode in _ENDINGS.items()
    },
    "models/one-fetch-cold": Show(file="one_fetch", how="cold"),
    "models/one-fetch-uncapped": Show(file="one_fetch", how="cold"),
    "models/one-fetch-on-expiry": Show(file="one_fetch", how="expiry"),
    "models/cached": Show(file="cached"),
    "models/by-id": Show(file="cached", how="by id"),
    "models/ttl-from-receipt": Show(file="slow_list"),
    "models/refreshed": Show(file="moving_list", how="refreshed"),
    "models/no-going-back": Show(file="moving_list", how="no going back", for_s=_RARE_S),
    "models/dead-provider": Show(file="dead_list"),
    "models/failure-not-cached": Show(file="failing_list", how="kept"),
    "models/failing-throttled": Show(file="failing_list", how="asked by all"),
    "models/leader-hang-up": Show(file="list_left"),
    "models/not-behind-cap": Show(file="behind_cap"),
    "answers/own": Show(file="whole", how="own", mode="stream", for_s=_RARE_S),
    "answers/whole": Show(file="whole", how="whole", for_s=_RARE_S),
    "answers/incremental": Show(file="incremental", mode="stream"),
    "answers/error-is-error": Show(file="errors", how="status", every=True),
    "answers/error-is-json": Show(file="errors", how="JSON", every=True),
    "answers/cut-is-no-success": Show(file="cut", how="called finished", mode="stream"),
    "answers/no-replay": Show(file="cut", how="begun anew", mode="stream"),
    "answers/attempts": Show(file="attempts"),
    "cancel/reaches-provider": Show(file="hang_up", every=True),
    "cancel/queued-stays-home": Show(file="left_queue"),
    "cancel/spares-others": Show(file="neighbours"),
    "keys/stay-home": Show(file="keys"),
    "overload/answer": Show(file="full_house", how="status"),
    "overload/queued": Show(file="full_house", how="queued"),
    "overload/retry-after": Show(file="full_house", how="Retry-After"),
    "overload/json-error": Show(file="full_house", how="JSON"),
}
"""Check -> how it is shown. What only observes has no violation to show."""
