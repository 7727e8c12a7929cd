"""The list requests of a start, found by when they began and ended. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import overload

from routerspec.records.observations import ListObservation


class ListRequests(Sequence[ListObservation]):
    """All list requests of a start, in the order of play: only those that matter are looked at."""

    __slots__ = ("_begun", "_by_end", "_ends", "_requests", "shown")

    def __init__(self, requests: Iterable[ListObservation]) -> None:
        self._requests = tuple(requests)
        ends = [request.end_ns for request in self._requests]
        self._by_end = sorted(range(len(ends)), key=ends.__getitem__)
        self._ends = [ends[place] for place in self._by_end]
        begun = (self._requests[place].started_ns for place in reversed(self._by_end))
        self._begun = list(accumulate(begun, min))[::-1]
        """When the first began of those that ended no earlier than each."""
        self.shown = frozenset(name for request in self._requests for name in request.epochs)
        """The providers whose models some list showed."""

    def by_end(
        self, after_ns: int, begun_before_ns: int | None = None
    ) -> Iterator[ListObservation]:
        """Those that ended after ``after_ns``, in the order of their ends.

        With ``begun_before_ns``: only those that began before.
        """
        return (self._requests[place] for place in self._found(after_ns, begun_before_ns))

    def open_in(self, after_ns: int, begun_before_ns: int) -> list[ListObservation]:
        """Those that ended after ``after_ns`` and began before the other, in the order of play."""
        places = sorted(self._found(after_ns, begun_before_ns))
        return [self._requests[place] for place in places]

    def _found(self, after_ns: int, begun_before_ns: int | None) -> Iterator[int]:
        for at in range(bisect_right(self._ends, after_ns), len(self._ends)):
            place = self._by_end[at]
            if begun_before_ns is None:
                yield place
            elif self._begun[at] >= begun_before_ns:
                return
            elif self._requests[place].started_ns < begun_before_ns:
                yield place

    def __len__(self) -> int:
        return len(self._requests)

    @overload
    def __getitem__(self, index: int) -> ListObservation: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[ListObservation, ...]: ...
    def __getitem__(self, index: int | slice) -> ListObservation | tuple[ListObservation, ...]:
        return self._requests[index]
