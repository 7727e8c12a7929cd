"""Whose fault it is, as a type. A finding about a router is never an exception.

    RouterspecError
    +-- UsageError            the caller's: a wrong word, a broken target file     exit 2
    +-- TargetNotReady        the router never came up, or nothing answers         exit 4
    +-- HarnessError          ours or the machine's: never held against a router   exit 4

Every message is one clear sentence and, where there is one, the next step.
"""

from __future__ import annotations


class RouterspecError(Exception):
    """Anything that ends a command early."""

    exit_code = 4


class UsageError(RouterspecError):
    """The command line or a target file says something that cannot be done."""

    exit_code = 2


class TargetNotReady(RouterspecError):  # noqa: N818 - it names the state
    """The router did not start, or never became ready."""


class HarnessError(RouterspecError):
    """A fault of the harness or of the machine."""
