"""What must be so of every verdict on a history of the model router.

Sound: no check is violated, and what is inconclusive was not exercised. That is told by the words
of the reason (``NOT_EXERCISED``), or, where the story has stalls or a death of the router, by words
that name those (``DISTURBED``). Every check whose promise was made must be judged at least, and the
command prints how often each one held, so that one which never holds is seen.

Broken: no ``must`` check is violated but those of the rule, and the rule's own check does not hold.
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
from tests.judge.model.story import ROUTES, Story

NOT_EXERCISED = re.compile(
    r"^never (exercised|played|tried)|^no round was played|^no load was played"
    r"|: never exercised"
)
"""The check says itself that it did not see what it must have seen."""

DISTURBED = re.compile(r"stall|not quiet|quiet moment|too loud|stood still|the router ended")
"""The check says that the machine, or the router's death, kept it from telling."""


@dataclass(frozen=True, slots=True)
class Excuse:
    """A reason that means "not exercised" in other words, and the stories in which it does."""

    words: str
    holds: Callable[[Story], bool]
    why: str


def _refuses(story: Story) -> bool:
    """A client that finds no slot may be refused at once."""
    cap = story.promises.cap
    return cap is not None and (cap.overload == "reject" or cap.queue_limit is not None)


def _lists_refused(story: Story) -> bool:
    lists = story.promises.model_list
    return _refuses(story) and lists is not None and lists.under_cap


EXCUSES = (
    Excuse(
        "several workers may",
        lambda story: story.promises.workers > 1,
        "each worker has a cache of its own, and the clients do not meet at one",
    ),
    Excuse(
        "clients had joined the fetch",
        lambda story: story.promises.workers > 1 or _lists_refused(story) or _answers_early(story),
        "the others asked the other worker, were refused by the cap that lists are under, or "
        "answered without the list that hangs",
    ),
    Excuse(
        "no error of a provider was seen to be told",
        lambda story: story.breaker or _refuses(story),
        "an open breaker, or a full router, refused them: no provider was asked",
    ),
    Excuse(
        "a stream was not seen to come out",
        _refuses,
        "a full router refused it: the slot of the one before was not yet back",
    ),
    Excuse(
        "the house was not full before it",
        lambda story: story.breaker,
        "an open breaker refused them: the slots were never filled",
    ),
    Excuse(
        "requests were answered",
        lambda story: story.play == "overhead",
        "a route with several calls has no first token of one, and nobody asks for a second here",
    ),
    Excuse(
        "came too slowly to tell",
        lambda story: story.stall_ms > 0,
        "the load stood still while they came",
    ),
    Excuse(
        "while no client asked for one",
        lambda story: story.timer,
        "the router fetches lists by itself",
    ),
    Excuse(
        "no stream was seen held",
        lambda story: story.play == "overhead" and not ROUTES[story.routes[0]].streams,
        "the route asks its provider for no stream",
    ),
    Excuse(
        "no single request succeeded",
        lambda story: story.play == "after-timeout" and story.retries > 0,
        "a request that is tried again and again outlasted the time that it is given to end",
    ),
    Excuse(
        "one client of 2 was left without",
        _lists_refused,
        "the cap that lists are under refused one of two",
    ),
    Excuse(
        "the dead provider was not asked",
        lambda story: story.stale or story.timer,
        "a router that fetches ahead or by itself did so just before",
    ),
)


@dataclass(frozen=True, slots=True)
class Known:
    """A false verdict that the judge is known to give: to be mended there, and struck out here."""

    checks: str
    words: str
    holds: Callable[[Story], bool]
    why: str


def _answers_early(story: Story) -> bool:
    """A list that hangs is answered without: with an error, where nothing is left of it."""
    lists = story.promises.model_list
    return lists is not None and lists.partial


KNOWN = (
    Known(
        "models/one-fetch-*",
        "fetches for",
        lambda story: story.gives_up_s > 0,
        "a fetch that the router gave up as its provider was answering it: nobody had the list",
    ),
    Known(
        "models/by-id",
        "one model by its id is not cached",
        lambda story: story.gives_up_s > 0,
        "the same, where one model is asked for",
    ),
    Known(
        "models/cached",
        "fetched again while fresh",
        lambda story: story.gives_up_s > 0 or story.rule == "not-shared",
        "a fetch prompted before anybody had the list of the one before",
    ),
    Known(
        "answers/whole",
        "ended without a finish marker",
        lambda story: any(len(ROUTES[name].calls) > 1 for name in story.routes),
        "an agent's last call was cut and its client told so: its first call had been finished",
    ),
    Known(
        "slots/reached",
        "used: openai:embeddings",
        lambda story: story.batches,
        "clients whose requests are all in one call are taken for clients that are kept out",
    ),
    Known(
        "slots/return-after-*",
        "rule was broken",
        lambda story: (
            story.promises.cap is not None
            and story.promises.cap.counts == "requests"
            and any(ROUTES[name].side_by_side for name in story.routes)
        ),
        "slots are counted in requests before the ending, and in calls after it",
    ),
    Known(
        "models/leader-hang-up",
        "left without a list",
        _answers_early,
        "the others' own deadline for a list that is held is taken for the leader's hang-up",
    ),
    Known(
        "models/dead-provider",
        "rule was broken",
        lambda story: story.rule == "dead-takes-all",
        "a round in which one client of two was left without the others' models is forgotten",
    ),
    Known(
        "answers/whole",
        "although its provider answered whole",
        lambda story: any(ROUTES[name].side_by_side for name in story.routes),
        "of two calls made at once the answer's was cut; the other one, read later, was finished",
    ),
    Known(
        "answers/attempts",
        "rule was broken",
        lambda story: story.rule == "retry-for-nobody" and story.stall_ms > 0,
        "a retry for a client that left counts as none where something stalled meanwhile",
    ),
)


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
        fnmatch.fnmatchcase(check, its.checks) and its.words in reason and its.holds(story)
        for its in KNOWN
    )
    return Problem(check, outcome.value, reason, known)


def _is_sound(story: Story, check: CheckResult) -> bool:
    if check.outcome in {Outcome.HELD, Outcome.NOT_APPLICABLE}:
        return True
    if check.outcome is not Outcome.INCONCLUSIVE:
        return False
    disturbed = bool(story.stall_ms) or story.dies
    if any(excuse.words in check.reason and excuse.holds(story) for excuse in EXCUSES):
        return True
    return bool(
        NOT_EXERCISED.search(check.reason) or (disturbed and DISTURBED.search(check.reason))
    )


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
        return bool(its & second_judge.violated(second_judge.of_run(played.run)))
    return played.broken > 0


def differences(found: Verdict, starts: list[second_judge.Start]) -> frozenset[str]:
    """The checks on which the two judges differ, of those that the second one knows.

    What is played once more is read only where the first attempt left something open.
    """
    tried = {Outcome.HELD, Outcome.VIOLATED, Outcome.INCONCLUSIVE}
    judged_ = {check.id for check in found.checks if check.outcome in tried}
    first = {check.id for check in found.checks if check.outcome is Outcome.VIOLATED}
    once = second_judge.violated([start for start in starts if start.info["attempt"] == 1])
    ever = second_judge.violated(starts) | once
    return frozenset((judged_ & once) - first | (first & second_judge.KNOWN) - ever)
