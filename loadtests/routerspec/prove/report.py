"""The matrix of flaws and checks: in a terminal, as Markdown, as JSON. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from routerspec.markup.markdown import inline
from routerspec.markup.paragraphs import write
from routerspec.markup.tables import Cell, Column, Span, Table
from routerspec.prove.expectations import Proof

_SIGNS = {"violated": "X", "held": ".", "not applicable": "", "inconclusive": "?"}


def render(proofs: Sequence[Proof], console: Console) -> None:
    """A row a flaw, and a sentence for each row that is red."""
    columns = [
        Column("flaw"),
        Column(),
        Column("tripped checks", fit="wrap"),
        Column("s", right=True),
    ]
    rows: list[list[Cell]] = []
    for proof in proofs:
        state = Span("red", style="red") if proof.faults else Span("ok", style="green")
        rows.append([proof.row.name, state, _violated(proof), f"{proof.seconds:.1f}"])
    Table(columns, rows).render(console)
    for proof in proofs:
        for fault in proof.faults:
            console.print()
            write(console, f"{proof.row.name}: {fault}", "red")
    console.print()
    write(console, summary(proofs))


def _violated(proof: Proof) -> Cell:
    """A check a line: the ones that the flaw must trip, then its side effects."""
    trips = [Span(id_, below=True) for id_ in proof.violated if id_ in proof.row.trips]
    others = [id_ for id_ in proof.violated if id_ not in proof.row.trips]
    aside = [Span(f"+ {id_}", style="dim", below=True) for id_ in others]
    return [*trips, *aside] or Span("none", style="dim")


def tally(rounds: Sequence[Sequence[Proof]]) -> str:
    """How often each row was green, of several rounds: one line, and one a row that was not."""
    played = Counter(proof.row.name for proofs in rounds for proof in proofs)
    green = Counter(proof.row.name for proofs in rounds for proof in proofs if not proof.faults)
    always = sum(green[name] == played[name] for name in played)
    lines = [f"{always} of {len(played)} rows green in all {len(rounds)} rounds"]
    lines += [
        f"{name}: green in {green[name]} of {times} rounds"
        for name, times in played.items()
        if green[name] < times
    ]
    return "\n".join(lines)


def summary(proofs: Sequence[Proof]) -> str:
    """One line."""
    red = sum(bool(proof.faults) for proof in proofs)
    flaws = sum(bool(proof.row.flaw) for proof in proofs)
    sound = len(proofs) - flaws
    counts = [f"{flaws} {'flaw' if flaws == 1 else 'flaws'}"] if flaws else []
    counts += [f"{sound} sound {'router' if sound == 1 else 'routers'}"] if sound else []
    each = "" if flaws == 1 else "each "
    held = [f"{each}trips its checks and no others"] if flaws else []
    held += ["no check accuses a sound router"] if sound else []
    return f"{', '.join(counts)}: {f'{red} red' if red else '; '.join(held)}."


def markdown(proofs: Sequence[Proof]) -> str:
    """The whole matrix: a column a check, a row a flaw."""
    ids = list(dict.fromkeys(id_ for proof in proofs for id_ in proof.outcomes))
    columns = [Column("flaw"), Column(), *map(Column, ids)]
    rows: list[list[Cell]] = []
    for proof in proofs:
        cells = [_sign(proof.outcomes.get(id_, "")) for id_ in ids]
        rows.append([proof.row.name, "RED" if proof.faults else "ok", *cells])
    faults = [f"- {inline(proof.row.name)}: {inline(f)}" for proof in proofs for f in proof.faults]
    lines = [
        "X: violated, as expected. `.`: held. ?: inconclusive. Empty: not run, or not applicable.",
        "",
        Table(columns, rows).markdown(),
        "",
        summary(proofs),
    ]
    return "\n".join([*lines, *(["", *faults] if faults else [])])


def _sign(outcome: str) -> Span:
    return Span(_SIGNS.get(outcome, outcome), bold=outcome == "violated")


def encode(proofs: Sequence[Proof]) -> str:
    """The matrix for other programs."""
    return json.dumps(
        [
            {
                "flaw": proof.row.flaw,
                "target": proof.row.target,
                "trips": proof.row.trips,
                "outcomes": dict(proof.outcomes),
                "faults": proof.faults,
                "seconds": round(proof.seconds, 1),
            }
            for proof in proofs
        ],
        indent=1,
    )
