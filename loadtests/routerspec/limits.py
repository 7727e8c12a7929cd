"""What the scenarios need: how many clients, and for how long a fetch is held.

Known to the scenarios, and to those who plan for them: how many hands, and whether it can be done.
"""

from __future__ import annotations

from typing import Final

OFFERED: Final = 5
"""Times the cap: offered to a route that is held."""

LARGEST_BURST: Final = 10
"""Times the cap: released in one instant."""

USERS: Final = 6
"""Times the cap: users of the mixed load."""

LIST_CLIENTS: Final = 50
"""Clients that ask for the model list at once."""

SLOW_FETCH: Final = 0.8
"""Of the TTL: how long a fetch is held to see from when its list is fresh."""

LONGEST_RECOVERY_S: Final = 5.0
"""A breaker or cooldown that is promised to last longer is not waited for."""

HIDDEN_CAP_STREAMS: Final = 64
"""Streams that are held at once, to see how many a router without a cap lets through."""

CONNECTIONS: Final = (1, 8, 32)
"""Clients at once, to see how many requests go through in a second."""

LONGEST_HOLD_S: Final = 8.0
"""Routers give up a fetch that takes longer: then nothing can be seen."""

AT_REST_S: Final = 2.0
"""How long a provider stands still after many pieces, at most, for one of them to come out."""

PIECES_BEFORE: Final = 8
"""Pieces that a provider has sent when it stands still."""

BYTES_BEFORE: Final = 8192
"""Bytes that they have at least: more than a small buffer keeps back."""

GONE_S: Final = 1.0
"""A client that left so long ago is gone, however slowly that is noticed."""

RETRY_AFTER_S: Final = 1
"""What a provider says of when to come back; whole seconds, as the header has it."""

TRIES: Final = 3
"""A deadline accuses only when it was missed so often, and never kept."""

BENCH_CONNECTIONS: Final = (1, 32, 128)
"""Clients at once, of the bench's rounds with as many requests as go."""
BENCH_IN_TURN_S: Final = 1.0
"""How long requests of one mode are made in turn, a round."""
BENCH_LOAD_S: Final = 0.6
"""How long as many requests as go are made, one way and one number of clients, a round."""
