"""How many clients the scenarios send, as multiples of the cap or in all.

Known to the scenarios, which send them, and to the plan, which needs as many hands.
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
