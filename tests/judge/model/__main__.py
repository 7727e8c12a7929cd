"""Judge made-up histories, as many as wanted: ``python -m tests.judge.model --histories 100000``.

Prints what came of each check, and leaves with 1 where a verdict was false, with the number of
each such history (``--only NUMBER`` plays it again, ``--write FOLDER`` keeps the plainest story
that still shows it, for ``routerspec judge FOLDER/NUMBER``).
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import sys
import time
from collections import Counter
from pathlib import Path

from routerspec.verdict import Outcome
from tests.judge import second_judge
from tests.judge.model import records
from tests.judge.model.plays import PLAYS
from tests.judge.model.properties import TRIED, Judged, Problem, differences, judged
from tests.judge.model.rules import RULES
from tests.judge.model.story import Story, draw, simpler

MOST_SHOWN = 20
STEPS = 400


def story_of(seed: int, number: int, *, broken: bool, play: str = "", rule: str = "") -> Story:
    """The story of this number. Every play, and every rule, has its turn."""
    rng = random.Random(f"{seed}-{number}-{broken}")
    if broken:
        rule = rule or list(RULES)[number % len(RULES)]
        return draw(rng, play or rng.choice(list(RULES[rule].trips)), rule)
    return draw(rng, play or list(PLAYS)[number % len(PLAYS)])


def shrunk(story: Story, check: str) -> Judged:
    """The plainest story found that gives the same check a false verdict."""
    best = judged(story)
    steps = 0
    simplest = False
    while not simplest and steps < STEPS:
        simplest = True
        for plainer in simpler(best.story):
            steps += 1
            its = judged(plainer)
            if any(problem.check == check for problem in its.problems):
                best, simplest = its, False
                break
    return best


class Tally:
    """What came of all histories."""

    def __init__(self) -> None:
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.known: Counter[str] = Counter()
        self.false: list[tuple[int, Problem]] = []
        self.disagreed: list[int] = []
        self.agreed = self.agreed_violated = 0
        """Verdicts of the founding promises on which both judges agree."""
        self.broken = 0

    def add(self, number: int, its: Judged) -> None:
        if its.story.rule:
            self.broken += its.broken
            for id_ in RULES[its.story.rule].trips.get(its.story.play, ()):
                outcome = next(c.outcome.value for c in its.verdict.checks if c.id == id_)
                self.outcomes[f"{its.story.rule} -> {id_}", outcome] += 1
        else:
            self.outcomes.update((check.id, check.outcome.value) for check in its.verdict.checks)
        self.known.update(problem.check for problem in its.problems if problem.known)
        self.false += [(number, problem) for problem in its.false]
        differ = differences(its.verdict, second_judge.of_run(its.played.run))
        if differ:
            self.disagreed.append(number)
        for check in its.verdict.checks:
            if check.id in second_judge.KNOWN - differ and check.outcome in TRIED:
                self.agreed += 1
                self.agreed_violated += check.outcome is Outcome.VIOLATED

    def table(self) -> str:
        """A line a check: how often it came to what."""
        rows = dict.fromkeys(name for name, _ in self.outcomes)
        columns = ("held", "violated", "inconclusive", "not applicable")
        width = max(map(len, rows), default=0)
        lines = [f"{'':{width}}  " + "  ".join(f"{column:>14}" for column in columns)]
        for row in rows:
            counts = (f"{self.outcomes[row, column]:>14}" for column in columns)
            lines.append(f"{row:{width}}  " + "  ".join(counts))
        return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.judge.model", description=__doc__)
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--broken", action="store_true", help="with one rule broken in each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="the history of this number, and its witnesses")
    parser.add_argument("--play", default="", choices=("", *PLAYS))
    parser.add_argument("--rule", default="", choices=("", *RULES))
    parser.add_argument("--write", type=Path, help="where false verdicts' histories go, shrunk")
    asked = parser.parse_args()
    numbers = range(asked.histories) if asked.only is None else range(asked.only, asked.only + 1)
    tally = Tally()
    began = time.monotonic()
    for number in numbers:
        story = story_of(asked.seed, number, broken=asked.broken, play=asked.play, rule=asked.rule)
        its = judged(story)
        tally.add(number, its)
        if asked.only is not None:
            _show(its)
        for problem in its.problems if asked.write else ():
            folder = asked.write / f"{problem.check.replace('/', '--')}-{number}"
            plainest = shrunk(story, problem.check)
            records.write(plainest.played.run, folder)
            print(f"{folder}: {_changed(plainest.story)}")
    took = time.monotonic() - began
    print(tally.table())
    print(
        f"{len(numbers)} histories of seed {asked.seed} in {took:.0f} s "
        f"({len(numbers) / took:.0f} a second)"
        + (f", {tally.broken} of them broke their rule" if asked.broken else "")
    )
    for check, times in tally.known.items():
        print(f"known: {check} was false {times} times")
    for number, problem in tally.false[:MOST_SHOWN]:
        print(
            f"FALSE, --only {number} --seed {asked.seed}: {problem.check} {problem.what}: "
            f"{problem.reason}"
        )
    for number in tally.disagreed[:MOST_SHOWN]:
        print(f"DISAGREED, --only {number} --seed {asked.seed}")
    print(
        f"{len(tally.false)} false verdicts; the judges agree on {tally.agreed} verdicts of "
        f"{len(second_judge.KNOWN)} checks, {tally.agreed_violated} of them violated, and disagree "
        f"on {len(tally.disagreed)} histories"
    )
    return int(bool(tally.false or tally.disagreed))


def _show(its: Judged) -> None:
    print(_changed(its.story), end="\n\n")
    for check in its.verdict.checks:
        if check.witness:
            print(check.id, check.outcome.value, check.witness.sentence, *check.witness.facts,
                  sep="\n    ", end="\n\n")  # fmt: skip


def _changed(story: Story) -> str:
    """The story in short: what is not as in the plainest."""
    plain = Story(play=story.play)
    told = (
        f"{field.name}={getattr(story, field.name)!r}"
        for field in dataclasses.fields(Story)
        if getattr(story, field.name) != getattr(plain, field.name)
    )
    return f"{story.play}: {', '.join(told)}"


if __name__ == "__main__":
    sys.exit(main())
