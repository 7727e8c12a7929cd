"""What the load process asks about the router's process, and the replies of whoever started both.

A question is a line of the load's output that begins with ``ASK``, the reply a line of its input:
one JSON object each.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from routerspec.records.observations import Disturbed

ASK: Final = "ask"
"""How the lines of a load's output begin that ask."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A question, or something to be done first."""

    what: Literal["drain", "reload", "state"] | Disturbed
    """``drain``, ``reload``: as the target promises it; ``state``: nothing."""
    cap: int | None = None
    """For ``reload``: the cap in the files that are written anew, where they have one."""
    replica: int = 1
    """The replica of the router that is meant, from 1."""
    service: str = ""
    """The service that is meant."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The router's process now, and what was done to it."""

    pid: int
    before_ns: int
    """Just before a signal was sent, or a command was started."""
    after_ns: int
    """Just after it was sent, or the command had exited."""
    signal: str = ""
    """``TERM``: the one that was sent; empty: none, or a command was run."""
    command_status: int | None = None
    """Of the command, where one was run."""
    cap: int | None = None
    """The cap in the files now; None: they have none, or no cap is set."""
    exited_ns: int | None = None
    """When it was seen to have exited; None: it runs."""
    exit_status: int | None = None
    """``-N``: ended by signal N."""
    fault: str = ""
    """Why it could not be done, which is not the router's fault; mostly empty."""


def read_ask(text: str) -> Ask:
    """The question in this text. Raises msgspec.DecodeError where it is none."""
    return msgspec.json.decode(text, type=Ask)


def read_reply(line: bytes) -> Reply:
    """The reply in this line. Raises msgspec.DecodeError where it is none."""
    return msgspec.json.decode(line, type=Reply)
