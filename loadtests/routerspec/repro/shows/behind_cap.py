"""The model list behind the cap: a house full of chats, and one request for the list."""

from __future__ import annotations

from routerspec.repro.kit import Lab, quiet, reached, say


def show(lab: Lab) -> bool:
    """True when the list was not answered while the house was full, and was once it was not."""
    gate = lab.hold()
    route, mode = lab.told["cells"][0]
    clients = [lab.client(route, mode).ask() for _ in range(2 * lab.told["cap"])]
    reached(lab.busy, lab.told["cap"])
    count = quiet(lab.busy)
    say(f"{count} chats are held open, cap {lab.told['cap']}; asking for the model list")

    asked = lab.lister().ask()
    blocked = not asked.over.wait(3)
    full = lab.busy() >= lab.told["cap"]
    gate.set()
    came = asked.over.wait(10)
    for client in clients:
        client.over.wait(30)
    say(
        "the list was not answered for 3 s, and came once the chats were let go"
        if blocked and came
        else f"the list {'never came' if blocked else 'was answered beside the full house'}"
    )
    return blocked and came and full
