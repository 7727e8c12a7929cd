"""The matrix of flaws and checks as text: for the terminal, as Markdown, as JSON. Pure.

Decides how a proof is shown. Refuses to know how it was come by.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from routerspec.prove.expectations import Proof

_SIGNS = {"violated": "**X**", "held": ".", "not applicable": "", "inconclusive": "?"}


def render(proofs: Sequence[Proof], console: Console) -> None:
    """A line a row, and a sentence for each thing that is red."""
    table = Table(box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    table.add_column("flaw", no_wrap=True)
    table.add_column("")
    table.add_column("tripped, and what else", overflow="fold")
    table.add_column("s", justify="right")
    for proof in proofs:
        word, style = ("red", "red") if proof.faults else ("ok", "green")
        table.add_row(
            proof.row.name,
            Text(word, style=style),
            _violated(proof),
            f"{proof.seconds:.1f}",
        )
    console.print(table)
    for proof in proofs:
        for fault in proof.faults:
            console.print()
            console.print(Text(f"{proof.row.name}: {fault}", style="red"))
    console.print()
    console.print(summary(proofs))


def _violated(proof: Proof) -> Text:
    """A check a line: what it must trip, then what it tripped as well."""
    trips = [id_ for id_ in proof.violated if id_ in proof.row.trips]
    others = [f"+ {id_}" for id_ in proof.violated if id_ not in proof.row.trips]
    text = Text("\n".join(trips))
    if others:
        text.append("\n" * bool(trips) + "\n".join(others), style="dim")
    return text if proof.violated else Text("nothing", style="dim")


def tally(rounds: Sequence[Sequence[Proof]]) -> str:
    """How often each row was green, of several rounds: one line, and one a row that was not."""
    played = Counter(proof.row.name for proofs in rounds for proof in proofs)
    green = Counter(proof.row.name for proofs in rounds for proof in proofs if not proof.faults)
    lines = [f"{name}: green {green[name]} times of {played[name]}" for name in played]
    always = sum(green[name] == played[name] for name in played)
    told = [line for name, line in zip(played, lines, strict=True) if green[name] < played[name]]
    return "\n".join([f"{always} of {len(played)} rows green {len(rounds)} times over", *told])


def summary(proofs: Sequence[Proof]) -> str:
    """One line."""
    red = sum(bool(proof.faults) for proof in proofs)
    flaws = sum(bool(proof.row.flaw) for proof in proofs)
    sound = len(proofs) - flaws
    counts = [f"{flaws} flaws"] * bool(flaws) + [f"{sound} sound routers"] * bool(sound)
    kept = ["each trips its checks and no other"] * bool(flaws)
    kept += ["nothing held against a sound one"] * bool(sound)
    return f"{', '.join(counts)}: {f'{red} red' if red else '; '.join(kept)}."


def markdown(proofs: Sequence[Proof]) -> str:
    """The whole matrix: a column a check, a row a flaw."""
    ids = list(dict.fromkeys(id_ for proof in proofs for id_ in proof.outcomes))
    lines = [
        "X: violated, as it must be or may be. `.`: held. ?: inconclusive. Empty: not played, or "
        "not applicable.",
        "",
        "| flaw | | " + " | ".join(ids) + " |",
        "|---|---|" + "---|" * len(ids),
    ]
    for proof in proofs:
        cells = [
            _SIGNS.get(proof.outcomes.get(id_, ""), proof.outcomes.get(id_, "")) for id_ in ids
        ]
        state = "RED" if proof.faults else "ok"
        lines.append(f"| {proof.row.name} | {state} | " + " | ".join(cells) + " |")
    faults = [f"- {proof.row.name}: {fault}" for proof in proofs for fault in proof.faults]
    return "\n".join([*lines, "", summary(proofs), *(["", *faults] if faults else [])])


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
