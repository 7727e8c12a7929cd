"""The options of the load process: one file, written by the process that starts it.

Imported on both sides, so it must not import Locust.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from routerspec.promises import Promises

FAKE_MODEL = "fake-chat"
"""The model that both fakes serve under this name, for every mode."""

NONSENSE_MODEL = "routerspec-no-such-model"


ROUND: Final = "round"
DONE: Final = "done"
WAITING: Final = "waiting"
GIVEN_UP: Final = "given up"
LIMITED: Final = "limited"
"""How the lines of a load's output begin: a round begins; a scenario was played to its end; what is
being waited for; why no further scenario is played: the router has failed, or it has another limit
than its slots."""


CREW: Final = "load processes"
"""How the line begins that says whose records there are: a ``Crewed`` as JSON."""


GIVE_UP_FILE: Final = "give-up.txt"
"""In a start's folder: why its load is to give up the rest, as other starts have shown."""


class Crewed(msgspec.Struct, frozen=True, kw_only=True):
    """The further load processes of a start: see ``StartInfo``."""

    here: tuple[int, ...]
    lost: dict[int, str]


class RoutePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach one provider through the router."""

    name: str
    provider: str
    """The fake that answers it in the end, as the target says."""
    front: str
    """The dialect that the router speaks there: that of a provider, or ``responses``."""
    path: str
    """Base path in front of the dialect's own paths; mostly empty."""
    model: str
    """The model id to ask for, placeholders filled."""
    nonsense_model: str
    """The same with a model that no provider has."""
    modes: tuple[str, ...]
    implied: bool
    headers: dict[str, str] = {}
    fallbacks: tuple[tuple[str, str], ...] = ()
    """(provider, model that is asked for there) of those who serve it where its own fails."""


class WayPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One of several routers that are measured side by side, or the straight way."""

    name: str
    url: str
    route: RoutePlan
    headers: dict[str, str]
    """Headers of every request this way, the key among them."""


class ClockOf(msgspec.Struct, frozen=True, kw_only=True):
    """The clock of a process of fakes, which other hosts can ask over UDP."""

    boot: str
    """Which it is, as in the header of its evidence."""
    address: tuple[str, int]


class LoadPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one Locust process needs for one start of the router."""

    token: str
    """The run token for prompts; nonces are dense within it."""
    folder: str
    """Where ``observations.jsonl`` goes."""
    control: str = ""
    """URL of the fakes' control API. Not in the file, which the router can read: see
    ``ControlAccess``."""
    control_token: str = ""
    """What its calls carry; not in the file either."""
    control_further: dict[str, str] = {}
    """Instance -> URL of its control API, of those beyond the first; not in the file either."""
    routes: tuple[RoutePlan, ...]
    headers: dict[str, str]
    """Headers of every client request. In the file, references and placeholders for its keys."""
    list_path: str
    promises: Promises
    scenarios: tuple[str, ...]
    """Played in this order."""
    seed: int
    timeout_s: float = 0.0
    """How long the router was told to wait for a provider."""
    secrets: dict[str, str] = {}
    """Name -> key of this run: who may see it is judged by where its name turns up. Not in the
    file."""
    references: tuple[str, ...] = ()
    """The names of the secrets that the headers refer to."""
    load_s: float = 10.0
    """How long the mixed load lasts at most; what is rare is looked for in proportion."""
    whole_load: bool = False
    """It lasts so long, also where it has shown everything before."""
    impatient: bool = False
    """An earlier start was given up: this one is given less time before it is."""
    can_restart: bool = False
    """What is given up on this start can be played on a fresh one."""
    attempt: int = 1
    """2: what was played before left something unclear."""
    cells: tuple[str, ...] = ()
    """``route:mode`` pairs that the held rounds are played on; empty means all of them."""
    ways: tuple[WayPlan, ...] = ()
    """What ``bench`` puts side by side; no other scenario has any."""
    replicas: tuple[str, ...] = ()
    """URLs of the replicas of the router beyond the first."""
    services: tuple[str, ...] = ()
    """Names of the services that the replicas share and the harness has started."""
    clocks: dict[str, ClockOf] = {}
    """Instance -> the clock of its fakes, where they may be on another host; empty: the first of
    each provider."""
    list_paths: tuple[str, ...] = ()
    """Other paths at which a smoke run looks for a model list."""
    rounds: int = 0
    """How many times over ``bench`` measures everything."""


class ControlAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How the load process reaches the control API: the first line of its standard input."""

    url: str
    token: str
    """Of all of them."""
    further: dict[str, str] = {}
    """Instance -> URL of its control API, of those beyond the first: ``openai-2``."""

    def of(self, plan: LoadPlan) -> LoadPlan:
        """The plan with this access."""
        return msgspec.structs.replace(
            plan, control=self.url, control_token=self.token, control_further=self.further
        )


def read_access(line: str) -> ControlAccess:
    """The access in this line. Raises msgspec.DecodeError where it is none."""
    return msgspec.json.decode(line, type=ControlAccess)


def read_crewed(text: str) -> Crewed:
    """Whose records there are. Raises msgspec.DecodeError."""
    return msgspec.json.decode(text, type=Crewed)


def read_plan(path: Path) -> LoadPlan:
    """Read a plan file of our own. Raises msgspec.ValidationError where it is none."""
    return msgspec.json.decode(path.read_bytes(), type=LoadPlan)
