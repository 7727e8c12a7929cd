"""Whose fault it is, as a type. A finding about a router is never an exception.

    RouterspecError
    +-- UsageError            the caller's: a wrong word, a broken target file     exit 2
    +-- TargetNotReady        the router never came up, or nothing answers         exit 4
    +-- HarnessError          ours or the machine's: never held against a router   exit 4

Every message is one clear sentence and, where there is one, the next step.
"""

from __future__ import annotations

import errno
from typing import Final, TypeGuard

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


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


def is_full(error: BaseException) -> TypeGuard[OSError]:
    """Whether a write failed for want of space: a full disk, a quota, a limit on files."""
    return isinstance(error, OSError) and error.errno in _FULL


def is_forbidden(error: BaseException) -> TypeGuard[OSError]:
    """Whether the user may not read or write something there."""
    return isinstance(error, OSError) and error.errno in _FORBIDDEN


def forbidden(error: OSError) -> str:
    """What to do about it, in one sentence."""
    return f"{error.filename or 'A file'}: {error.strerror}: choose a folder of your own."


def full_disk(error: OSError) -> str:
    """What to do about it, in one sentence."""
    where = f": {error.filename}" if error.filename else ""
    return (
        f"{error.strerror}{where}. Make room on the disk, or name another with --runs; this says "
        "nothing about the router."
    )
