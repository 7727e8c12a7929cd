"""How far another process's clock is ahead of this one's, from questions and answers. Pure.

Nothing is proved by it: it only makes what starts together start at one moment.
"""

from __future__ import annotations


class Offset:
    """Of one other clock: it lies in every interval that an exchange gives."""

    def __init__(self) -> None:
        self._least: int | None = None
        self._most: int | None = None

    def hear(self, asked_ns: int, at_ns: int, answered_ns: int) -> None:
        """One exchange: asked and answered by this clock, ``at_ns`` by the other one.

        An exchange that contradicts those before (clocks drift) counts alone.
        """
        least, most = at_ns - answered_ns, at_ns - asked_ns
        if self._least is not None and self._most is not None:
            narrow = max(self._least, least), min(self._most, most)
            if narrow[0] <= narrow[1]:
                least, most = narrow
        self._least, self._most = least, most

    @property
    def known(self) -> bool:
        """There was an exchange."""
        return self._least is not None

    @property
    def ns(self) -> int:
        """The middle of what is possible; 0 before the first exchange."""
        if self._least is None or self._most is None:
            return 0
        return (self._least + self._most) // 2

    @property
    def half_width_ns(self) -> int:
        """How far that may be off, at most; 0 before the first exchange."""
        if self._least is None or self._most is None:
            return 0
        return (self._most - self._least + 1) // 2
