"""What must be so of every verdict on a history of the model router.

Sound: no check is violated, and what is inconclusive was not exercised. Its reason says "never
exercised" (or played, tried), or it names a stall, where the story has any, or it follows from the
story, where its router keeps a check from being exercised (``EXCUSES``). The command prints how
often each check held, so that one which never holds is seen.

Broken: no ``must`` check is violated but those of the rule, and where the rule was really broken
its own check does not hold.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass

from routerspec.verdict import CheckResult, Outcome, Verdict
from tests.judge import second_judge
from tests.judge.model.plays import Played, play
from tests.judge.model.records import MUSTS, verdict
from tests.judge.model.rules import RULES
from tests.judge.model.story import Story

NOT_EXERCISED = re.compile(
    r"never (exercised|played|tried)|^no (round|load) (was played|of \S+ was played)"
)
"""The check says itself that it did not see what it must have seen."""

DISTURBED = re.compile(r"stall|quiet|too loud|stood still")
"""The check says that the machine kept it from telling."""


@dataclass(frozen=True, slots=True)
class Excuse:
    """Stories in which some checks are not exercised, in whatever words they say so."""

    checks: str
    holds: Callable[[Story], bool]
    why: str


def _refuses(story: Story) -> bool:
    """A client that finds no slot may be refused at once."""
    cap = story.promises.cap
    return cap is not None and (cap.overload == "reject" or cap.queue_limit is not None)


def _lists_refused(story: Story) -> bool:
    lists = story.promises.model_list
    return _refuses(story) and lists is not None and lists.under_cap


def _answers_early(story: Story) -> bool:
    """A list that hangs is answered without: with an error, where nothing is left of it."""
    lists = story.promises.model_list
    return lists is not None and lists.partial


EXCUSES = (
    Excuse("*", lambda story: story.dies, "the router died"),
    Excuse(
        "models/*",
        lambda story: story.promises.workers > 1,
        "each worker has a cache of its own, and the clients do not meet at one",
    ),
    Excuse("models/*", lambda story: story.timer, "the router fetches lists by itself"),
    Excuse(
        "models/leader-hang-up",
        lambda story: _lists_refused(story) or _answers_early(story),
        "the others were refused by the cap, or answered without the list that hangs",
    ),
    Excuse(
        "models/dead-provider",
        lambda story: story.stale or _lists_refused(story),
        "the dead provider had just been asked, or a client was refused by the cap",
    ),
    Excuse(
        "models/not-behind-cap",
        lambda story: story.breaker or story.stall_ms > 0,
        "an open breaker, or a stall, kept the slots from being full around every request",
    ),
    Excuse("models/failing-throttled", lambda story: story.stall_ms > 0, "clients came too slowly"),
    Excuse(
        "answers/error-is-error",
        lambda story: story.breaker or _refuses(story),
        "an open breaker, or a saturated router, refused them: no provider was asked",
    ),
    Excuse(
        "answers/incremental",
        _refuses,
        "a saturated router refused it: the slot of the one before was not yet back",
    ),
    Excuse("slots/return-after-*", lambda story: story.breaker, "an open breaker refused them"),
    Excuse(
        "slots/reached",
        lambda story: story.batches,
        "all that were offered went into fewer calls than there are slots",
    ),
    Excuse(
        "slots/return-after-timeout",
        lambda story: story.retries > 0,
        "a request that is tried again and again outlasted the time that it is given to end",
    ),
    Excuse(
        "overhead/*",
        lambda story: story.play == "overhead",
        "too few are asked, and a route with several calls or no stream has nothing to measure",
    ),
)


@dataclass(frozen=True, slots=True)
class Known:
    """A false verdict that the judge is known to give: to be mended there, and struck out here.

    ``tests/judge/test_false_verdicts.py`` has the smallest history of each.
    """

    checks: str
    outcome: Outcome
    holds: Callable[[Story], bool]
    why: str


KNOWN: tuple[Known, ...] = ()


TRIED = frozenset({Outcome.HELD, Outcome.VIOLATED, Outcome.INCONCLUSIVE})
"""What comes of a check that applies."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One check's verdict that should not be."""

    check: str
    what: str
    reason: str
    known: bool = False


@dataclass(frozen=True, slots=True)
class Judged:
    """A story, what it came to, and what is wrong with that."""

    story: Story
    played: Played
    verdict: Verdict
    problems: tuple[Problem, ...]
    broken: bool
    """The router really broke its rule."""

    @property
    def false(self) -> tuple[Problem, ...]:
        """What is wrong and not known to be."""
        return tuple(problem for problem in self.problems if not problem.known)


def judged(story: Story) -> Judged:
    """Play the story and judge its history."""
    played = play(story)
    found = verdict(played.run)
    broken = bool(story.rule) and _was_broken(story, played)
    problems = _broken(story, found, broken=broken) if story.rule else _sound(story, found)
    return Judged(story, played, found, tuple(problems), broken)


def _sound(story: Story, found: Verdict) -> list[Problem]:
    odd = [check for check in found.checks if not _is_sound(story, check)]
    unjudged = [check for check in odd if check.outcome in _NOTHING_JUDGED]
    if unjudged:  # All of them for one reason.
        odd = unjudged[:1]
    return [
        _problem(story, check.id, check.outcome, check.reason or check.summary) for check in odd
    ]


_NOTHING_JUDGED = (Outcome.NOT_JUDGED, Outcome.HARNESS_ERROR)


def _problem(story: Story, check: str, outcome: Outcome, reason: str) -> Problem:
    known = any(
        fnmatch.fnmatchcase(check, its.checks) and its.outcome is outcome and its.holds(story)
        for its in KNOWN
    )
    return Problem(check, outcome.value, reason, known)


def _is_sound(story: Story, check: CheckResult) -> bool:
    if check.outcome in {Outcome.HELD, Outcome.NOT_APPLICABLE}:
        return True
    if check.outcome is not Outcome.INCONCLUSIVE:
        return False
    if any(
        fnmatch.fnmatchcase(check.id, excuse.checks) and excuse.holds(story) for excuse in EXCUSES
    ):
        return True
    disturbed = story.stall_ms > 0 and DISTURBED.search(check.reason)
    return bool(NOT_EXERCISED.search(check.reason) or disturbed)


def _broken(story: Story, found: Verdict, *, broken: bool) -> list[Problem]:
    rule = RULES[story.rule]
    may = rule.may()
    problems = [
        _problem(story, check.id, check.outcome, check.summary)
        for check in found.checks
        if check.outcome is Outcome.VIOLATED and check.id in MUSTS and check.id not in may
    ]
    if broken:
        outcomes = {check.id: check.outcome for check in found.checks}
        its = [outcomes[id_] for id_ in rule.trips.get(story.play, ())]
        if its and all(outcome is Outcome.HELD for outcome in its):
            ids = ",".join(rule.trips[story.play])
            problems.append(_problem(story, ids, Outcome.HELD, "rule was broken"))
    return problems


def _was_broken(story: Story, played: Played) -> bool:
    """The router really broke its rule; of a cap, and of fetches, the second judge says so."""
    its = set(RULES[story.rule].trips.get(story.play, ()))
    if its and its <= second_judge.KNOWN:
        # What is played once more is read only where the first attempt left something open.
        starts = second_judge.of_run(played.run)
        first = [start for start in starts if start.info["attempt"] == 1]
        return bool(its & second_judge.violated(first))
    return played.broken > 0


def differences(found: Verdict, starts: list[second_judge.Start]) -> frozenset[str]:
    """The checks on which the two judges differ, of those that the second one knows.

    What is played once more is read only where the first attempt left something open.
    """
    judged_ = {check.id for check in found.checks if check.outcome in TRIED}
    first = {check.id for check in found.checks if check.outcome is Outcome.VIOLATED}
    once = second_judge.violated([start for start in starts if start.info["attempt"] == 1])
    ever = second_judge.violated(starts) | once
    return frozenset((judged_ & once) - first | (first & second_judge.KNOWN) - ever)
