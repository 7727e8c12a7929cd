"""The control APIs of several fakes processes, driven as one.

A question is put to all of them, and only then answered, so that whatever is released afterwards
was held until all had answered. ``provider="openai"`` is about all instances, ``openai-2`` about
that one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

from fake_providers.prompt.instances import base_of, is_about, name_of
from routerspec.errors import UsageError
from routerspec.processes.control import (
    Control,
    Default,
    Health,
    InFlight,
    Level,
    Lists,
    Now,
)
from routerspec.records.load_plan import ClockOf

T = TypeVar("T")


def connected(urls: str, token: str = "") -> Control | ControlGroup:
    """A client of the processes at these URLs, which commas separate: the first one serves every
    provider, each other one is a further instance of one.

    Raises HarnessError where one does not answer, UsageError where one is no such instance.
    """
    first, *others = urls.split(",")
    if not others:
        return Control(first, token=token)
    further = {}
    for url in others:
        with Control(url, token=token) as control:
            further[served_by(control.health(), url)[0]] = url
    return ControlGroup(first, further, token=token)


def served_by(health: Health, url: str) -> tuple[str, str]:
    """(name, URL) of the one provider that the process of a further instance serves.

    Raises UsageError for a process that is none.
    """
    urls = {"openai": health.openai, "ollama": health.ollama, "anthropic": health.anthropic}
    served = [(base, its) for base, its in urls.items() if its]
    if health.instance == 1 or len(served) != 1:
        raise UsageError(
            f"The fakes at {url} are not a further instance of one provider: start them with "
            "--instance K, and give the ports of the others as none."
        )
    base, its = served[0]
    return name_of(base, health.instance), its


class ControlGroup:
    """A client of several fakes processes; its methods are those of ``Control``.

    Every method raises HarnessError when one of its calls fails.
    """

    def __init__(self, url: str, further: Mapping[str, str], *, token: str = "") -> None:
        """``url`` of the first process, ``further``: instance -> URL of its own.

        ``token``: that of all of them; nothing is asked yet.
        """
        self.url = url
        self.further = dict(further)
        self._first = Control(url, token=token)
        self._further = {name: Control(its, token=token) for name, its in further.items()}

    @property
    def changes(self) -> int:
        """Requests sent that change something, in all, answered or not."""
        return sum(each.changes for each in self._all)

    @property
    def _all(self) -> tuple[Control, ...]:
        return (self._first, *self._further.values())

    def health(self) -> Health:
        """Who answers at the first process."""
        return self._first.health()

    def now(self) -> Now:
        """What is open and held, from one answer of each process; the first one is asked last.

        See ``Control`` for whose clock a time is of.
        """
        further = {name: each.now() for name, each in self._further.items()}
        return _merged(self._first.now(), further)

    def clocks(self) -> dict[str, ClockOf]:
        """Instance -> its clock, where that is not this machine's; empty: the first of each."""
        further = {name: each.clocks() for name, each in self._further.items()}
        its = {name: clocks[""] for name, clocks in further.items() if clocks}
        return self._first.clocks() | its

    def open_gate(self, gate: str) -> int:
        """Open ``gate`` for good everywhere; how many held there and went."""
        return sum(each.open_gate(gate) for each in self._all)

    def let_go(self, gate: str, count: int) -> int:
        """Let the ``count`` oldest at ``gate`` go, by the times of their processes; how many."""
        asked = (("", self._first), *self._further.items())
        held = [(call.read_ns, name) for name, each in asked for call in _held(each, gate)]
        oldest = [name for _, name in sorted(held)[:count]]
        return sum(each.let_go(gate, oldest.count(name)) for name, each in asked if name in oldest)

    def lists(self, *, provider: str | None = None, **how: Any) -> dict[str, Lists]:
        """Steer the model lists of ``provider``, or of all: see ``Control``."""
        given = how if provider is None else {**how, "provider": provider}
        return _joined(each.lists(**given) for each in self._about(provider))

    def release_lists(self, provider: str | None = None) -> int:
        """Let the held list fetches of ``provider`` (or of all) go and hold no more; how many."""
        return sum(each.release_lists(provider) for each in self._about(provider))

    def default(
        self,
        *,
        first_s: float | None = None,
        gap_s: float | None = None,
        tokens: int | None = None,
    ) -> Default:
        """Set how calls are answered whose prompt says nothing; tells how that is now."""
        return self._last(lambda each: each.default(first_s=first_s, gap_s=gap_s, tokens=tokens))

    def behave(
        self,
        wants: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        times: int | None = None,
    ) -> None:
        """Answer requests by ``wants`` from now on; ``times``: the next so many of each process."""
        for each in self._about(provider):
            each.behave(wants, provider=provider, model=model, times=times)

    def behave_as_told(self) -> None:
        """Forget all that ``behave`` ordered."""
        self._last(Control.behave_as_told)

    def canaries(self, secrets: Mapping[str, str]) -> None:
        """Look for these, name -> secret, in every request from now on."""
        self._last(lambda each: each.canaries(secrets))

    def transcripts(self, *, on: bool) -> None:
        """Record every call that arrives from now on with its bytes, or no more."""
        self._last(lambda each: each.transcripts(on=on))

    def connections(self, *, keep_s: float | None) -> None:
        """Close connections that were idle for so long, from now on; None: never."""
        self._last(lambda each: each.connections(keep_s=keep_s))

    def listening(self, *, on: bool, provider: str | None = None) -> None:
        """Refuse connections to ``provider`` (None: any) from now on, or accept them again."""
        for each in self._about(provider):
            each.listening(on=on, provider=provider)

    def accept_after(self, delay_s: float, *, provider: str | None = None) -> None:
        """Leave new connections alone for so long from now on."""
        for each in self._about(provider):
            each.accept_after(delay_s, provider=provider)

    def reset(self) -> None:
        """Open and forget all gates, let the lists go, behave as at the start. Epochs stay."""
        self._last(Control.reset)

    def ledgers(self, *, closed: bool) -> dict[str, bytes]:
        """Instance -> a copy of its ledger: see ``Control``."""
        further = {name: each.ledgers(closed=closed)[""] for name, each in self._further.items()}
        return self._first.ledgers(closed=closed) | further

    def close(self) -> None:
        """Close the connections; the fakes go on."""
        self._last(Control.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _about(self, provider: str | None) -> list[Control]:
        """Those whose providers a call is about; the first one serves every provider."""
        further = [each for name, each in self._further.items() if is_about(provider, name)]
        one_of_them = provider is not None and is_about(provider, base_of(provider))
        return [self._first, *further] if provider is None or one_of_them else further

    def _last(self, do: Callable[[Control], T]) -> T:
        """What the last of all of them answered."""
        *others, last = self._all
        for each in others:
            do(each)
        return do(last)


def _held(control: Control, gate: str) -> list[Any]:
    return [call for call in control.now().held if call.gate == gate]


def _joined(parts: Iterable[dict[str, T]]) -> dict[str, T]:
    return {name: value for part in parts for name, value in part.items()}


def _merged(first: Now, further: Mapping[str, Now]) -> Now:
    nows = [first, *further.values()]
    arrivals = [now.last_arrival_ns for now in nows if now.last_arrival_ns is not None]
    return Now(
        at_ns=first.at_ns,
        at={name: now.at_ns for name, now in further.items()},
        ours_ns=first.ours_ns,
        arrived=_joined(now.arrived for now in nows),
        last_arrival_ns=max(arrivals, default=None),
        open=_joined(now.open for now in nows),
        in_flight=InFlight(
            all=Level(
                now=sum(now.in_flight.all.now for now in nows),
                peak=sum(now.in_flight.all.peak for now in nows),
            )
        ),
        held=tuple(call for now in nows for call in now.held),
        lists=_joined(now.lists for now in nows),
        stalled_ns=max(now.stalled_ns for now in nows),
    )
