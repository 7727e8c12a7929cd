"""The harness's short calls to the fakes' control API, one method an endpoint.

Decides how an answer is typed and how a fault is told. Refuses to know when to hold and when to
let go. Plain synchronous httpx: it works in a gevent-patched process as well.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from routerspec.errors import HarnessError
from routerspec.processes.own_code import CONTROL_VARIABLE
from routerspec.processes.ports import is_on_loopback
from routerspec.records.load_plan import ClockOf

T = TypeVar("T")

_TIMEOUT_S: Final = 10.0
_KEEP_IDLE_S: Final = 1.0


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers: the run's token, the process, its latency profiles and the providers' URLs."""

    run: str
    pid: int
    profiles: tuple[str, ...] = ()
    instance: int = 1
    """Which instance of its providers it is."""
    openai: str | None = None
    """None: it is not served, as in the next two."""
    ollama: str | None = None
    anthropic: str | None = None
    clock: str = ""
    """Which clock its times are of; empty: it is reached from this machine only."""


class HeldCall(msgspec.Struct, frozen=True, kw_only=True):
    """One call that a fake is holding."""

    provider: str
    call: int
    run: str
    nonces: tuple[int, ...]
    gate: str
    at: str
    """``head`` or ``first``: what it has not sent yet, or has sent last."""
    read_ns: int


class Lists(msgspec.Struct, frozen=True, kw_only=True):
    """The model list of one provider: fetches so far, and what is open now."""

    fetches: int
    """Arrived, in all."""
    open: int
    held: int
    answered: int
    """Answered whole, in all."""
    last_answered_ns: int | None
    epoch: int


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """How many calls are open, to their last byte: now, and at most since the fakes began."""

    now: int
    peak: int


class InFlight(msgspec.Struct, frozen=True, kw_only=True):
    """Levels; those of providers, routes and models are there as well."""

    all: Level


class Now(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot of all fakes, taken at once.

    All times are of our clock but ``at_ns``, ``at`` and those of held calls.
    """

    at_ns: int
    at: dict[str, int] = {}
    """Instance -> when its own process answered, by the clock of that process, of those beyond the
    first."""
    ours_ns: int | None = None
    """By our clock the earliest that it can have been taken, where ``at_ns`` is of another."""
    arrived: dict[str, int]
    """Provider -> calls whose whole request was read, in all."""
    last_arrival_ns: int | None
    open: dict[str, int]
    """Provider -> calls open, held or not."""
    in_flight: InFlight
    held: tuple[HeldCall, ...]
    lists: dict[str, Lists]
    stalled_ns: int
    """The worst stall of the fakes' own loop so far."""

    @property
    def taken_ns(self) -> int:
        """When it was taken, by our clock: not later than it was."""
        return self.at_ns if self.ours_ns is None else self.ours_ns

    @property
    def unfinished(self) -> int:
        """Calls and list fetches that are open: a ledger is closed only while there are none."""
        return sum(self.open.values()) + sum(state.open for state in self.lists.values())


class _Released(msgspec.Struct, frozen=True, kw_only=True):
    released: int


class Default(msgspec.Struct, frozen=True, kw_only=True):
    """What a call is answered like whose prompt says nothing."""

    first_s: float
    gap_s: float
    tokens: int


class Control:
    """A client of one fakes process. Every method raises HarnessError when the call fails."""

    def __init__(self, url: str, *, token: str = "", timeout_s: float = _TIMEOUT_S) -> None:
        """``url`` as announced by the fakes, ``token`` theirs; nothing is asked yet."""
        self.url = url
        self.further: Mapping[str, str] = {}
        """Instance -> URL, of those beyond the first: none."""
        self.changes = 0
        """Requests sent that change something, answered or not: a judge compares their number with
        the evidence."""
        self._is_elsewhere = not is_on_loopback(urlsplit(url).hostname)
        self._client = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=timeout_s,
            trust_env=False,
            verify=urlsplit(url).scheme == "https",  # reading the certificates takes 26 ms
            limits=httpx.Limits(keepalive_expiry=_KEEP_IDLE_S),
        )

    def health(self) -> Health:
        """Who answers here.

        Fakes that listen on every address tell URLs as their own machine reaches them: their
        providers are at the address at which the control API is reached.
        """
        told = self._typed("GET", "/control/health", Health)
        urls = {name: getattr(told, name) for name in ("openai", "ollama", "anthropic")}
        return replace(told, **{name: _reached(url, self.url) for name, url in urls.items() if url})

    def now(self) -> Now:
        """What is open and held at this instant.

        Doubt: what a process with another clock says of its past is taken for as late as it can
        have been, so that nothing is settled sooner.
        """
        asked_ns = time.monotonic_ns()
        now = self._typed("GET", "/control/now", Now)
        answered_ns = time.monotonic_ns()
        if not self._is_elsewhere or asked_ns <= now.at_ns <= answered_ns:
            return now
        return _moved(now, asked_ns, answered_ns - now.at_ns)

    def clocks(self) -> dict[str, ClockOf]:
        """The clock of its process, as that of no instance; none where that is this machine's."""
        if not self._is_elsewhere:
            return {}
        boot, parts = self.health().clock, urlsplit(self.url)
        if not boot or parts.hostname is None or parts.port is None:
            return {}
        return {"": ClockOf(boot=boot, address=(parts.hostname, parts.port))}

    def open_gate(self, gate: str) -> int:
        """Open ``gate`` for good; how many held there and went. None will hold there again."""
        return self._typed("POST", f"/control/gates/{gate}/open", _Released).released

    def let_go(self, gate: str, count: int) -> int:
        """Let the ``count`` oldest at ``gate`` go; how many went. It stays shut."""
        body = {"count": count}
        return self._typed("POST", f"/control/gates/{gate}/let-go", _Released, body).released

    def lists(
        self,
        *,
        provider: str | UnsetType = UNSET,
        epoch: int | UnsetType = UNSET,
        hold_next: int | UnsetType = UNSET,
        delay_s: float | UnsetType = UNSET,
        status: int | UnsetType | None = UNSET,
        nonsense: str | UnsetType | None = UNSET,
    ) -> dict[str, Lists]:
        """Steer the model lists of ``provider``, or of all. What is not given stays as it is.

        ``hold_next``: so many next fetches are held. ``delay_s``: each one waits so long.
        ``status``: answer this error; None: answer the list again. ``nonsense``: answer 200 with
        ``text``, ``shape``, ``empty`` or ``half`` in place of the list; None: the list again.
        """
        body = {
            "provider": provider,
            "epoch": epoch,
            "hold_next": hold_next,
            "delay_s": delay_s,
            "status": status,
            "nonsense": nonsense,
        }
        given = {name: value for name, value in body.items() if value is not UNSET}
        return self._typed("POST", "/control/lists", dict[str, Lists], given)

    def release_lists(self, provider: str | None = None) -> int:
        """Let the held list fetches of ``provider`` (or of all) go and hold no more; how many."""
        body = {} if provider is None else {"provider": provider}
        return self._typed("POST", "/control/lists/release", _Released, body).released

    def default(
        self,
        *,
        first_s: float | None = None,
        gap_s: float | None = None,
        tokens: int | None = None,
    ) -> Default:
        """Set how calls are answered whose prompt says nothing; tells how that is now."""
        body = {"first_s": first_s, "gap_s": gap_s, "tokens": tokens}
        given = {name: value for name, value in body.items() if value is not None}
        return self._typed("POST", "/control/default", Default, given)

    def behave(
        self,
        wants: str,
        *,
        provider: str | None = None,
        model: str | None = None,
        times: int | None = None,
    ) -> None:
        """Answer requests of ``provider`` and ``model`` (None: any) by ``wants`` from now on.

        ``times``: only the next so many. What a prompt says itself comes first.
        """
        body = {"wants": wants, "provider": provider, "model": model, "times": times}
        self._ask("POST", "/control/behaviours", body)

    def behave_as_told(self) -> None:
        """Forget all that ``behave`` ordered."""
        self._ask("DELETE", "/control/behaviours")

    def canaries(self, secrets: Mapping[str, str]) -> None:
        """Look for these, name -> secret, in every request from now on."""
        self._ask("POST", "/control/canaries", dict(secrets))

    def transcripts(self, *, on: bool) -> None:
        """Record every call that arrives from now on with its bytes, or no more."""
        self._ask("POST", "/control/transcripts", {"on": on})

    def connections(self, *, keep_s: float | None) -> None:
        """Close connections that were idle for so long, from now on; None: never."""
        self._ask("POST", "/control/connections", {"keep_s": keep_s})

    def listening(self, *, on: bool, provider: str | None = None) -> None:
        """Refuse connections to ``provider`` (None: any) from now on, or accept them again."""
        self._ask("POST", "/control/listening", {"provider": provider, "on": on})

    def accept_after(self, delay_s: float, *, provider: str | None = None) -> None:
        """Leave new connections alone for so long from now on."""
        self._ask("POST", "/control/accepting", {"provider": provider, "delay_s": delay_s})

    def reset(self) -> None:
        """Open and forget all gates, let the lists go, behave as at the start. Epochs stay."""
        self._ask("POST", "/control/reset", {})

    def ledger(self) -> bytes:
        """A copy of the ledger as it stands, with no footer."""
        return self._ask("GET", "/control/ledger").content

    def closed_ledger(self) -> bytes:
        """A copy of the ledger as it stands, with a footer. Refused while a call is open."""
        return self._ask("GET", "/control/ledger?closed=true").content

    def ledgers(self, *, closed: bool) -> dict[str, bytes]:
        """The copy of the ledger (with a footer, where ``closed``), as that of no instance."""
        return {"": self.closed_ledger() if closed else self.ledger()}

    def close(self) -> None:
        """Close the connections; the fakes go on."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _typed(self, method: str, path: str, kind: type[T], body: Any = None) -> T:
        answer = self._ask(method, path, body)
        try:
            return msgspec.json.decode(answer.content, type=kind)
        except msgspec.DecodeError as error:
            raise HarnessError(
                f"The fakes at {self.url} answered {method} {path} with something else than was "
                f"agreed ({error}): are they of the same version as routerspec?"
            ) from None

    def _ask(self, method: str, path: str, body: Any = None) -> httpx.Response:
        if method != "GET":
            self.changes += 1
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise HarnessError(
                f"The fakes do not answer {method} {path} at {self.url} "
                f"({type(error).__name__}: {error}): their own words are in fakes.log."
            ) from None
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise HarnessError(
                f"The fakes at {self.url} refuse requests without their token, which they print at "
                f"their start: put it into the environment as {CONTROL_VARIABLE}."
            )
        if answer.is_error:
            raise HarnessError(
                f"The fakes at {self.url} refused {method} {path} with {answer.status_code}: "
                f"{_detail(answer)}"
            )
        return answer


def _moved(now: Now, ours_ns: int, ahead_ns: int) -> Now:
    """The same with the times of its past by our clock."""

    def moved(ns: int | None) -> int | None:
        return None if ns is None else ns + ahead_ns

    return replace(
        now,
        ours_ns=ours_ns,
        last_arrival_ns=moved(now.last_arrival_ns),
        lists={
            name: replace(its, last_answered_ns=moved(its.last_answered_ns))
            for name, its in now.lists.items()
        },
    )


def _reached(url: str, control_url: str) -> str:
    """A provider's URL as it is reached from here, where its control API is at ``control_url``."""
    told, ours = urlsplit(url), urlsplit(control_url)
    if not is_on_loopback(told.hostname) or is_on_loopback(ours.hostname):
        return url
    host = ours.netloc.removesuffix(f":{ours.port}")
    return f"{told.scheme}://{host}:{told.port}"


def _detail(answer: httpx.Response) -> str:
    """The sentence of an error answer, or the start of its body."""
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:300]
