"""Command line and environment of child processes: our own Python modules, and routers.

``python -P`` alone is not enough: where a user's PYTHONPATH names a folder with a
``fake_providers`` of its own in it, that one would run. So our folders go first on the
PYTHONPATH of our own children, and of nobody else's.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

OUR_MODULES: Final = ("fake_providers", "reference_router", "routerspec", "locust")

CONTROL_VARIABLE: Final = "ROUTERSPEC_FAKES_TOKEN"
"""The variable with the token of running fakes that a user wants to have used."""

_PACKAGE: Final = Path(__file__).resolve().parents[1]
_LOCAL: Final = "127.0.0.1,localhost,::1"
_SYSTEM_FOLDERS: Final = "/usr/local/sbin:/usr/sbin:/sbin"


def own_folders() -> tuple[str, ...]:
    """The folders that hold our import packages: one in a wheel, two in a checkout.

    Found from this file's own place, never by an import, which a user's folder could answer.
    """
    package_folder = _PACKAGE.parent
    if (package_folder / "fake_providers" / "records" / "ledger.py").is_file():
        return (str(package_folder),)
    return (str(package_folder.parent), str(package_folder))


def locustfile() -> Path:
    """What ``locust -f`` is given, in a wheel as in a checkout."""
    return _PACKAGE / "scenarios" / "locust" / "locustfile.py"


def locust_command() -> str:
    """What a user types for the Locust of this very environment: PATH may lead to another one."""
    ours = Path(sys.executable).with_name("locust")
    return str(ours) if ours.is_file() else f"{sys.executable} -m locust"


def own_environment() -> dict[str, str]:
    """Environment for a child that runs our own modules."""
    env = child_environment()
    earlier = env.get("PYTHONPATH")
    folders = [*own_folders(), *([earlier] if earlier else [])]
    return env | {"PYTHONPATH": os.pathsep.join(folders)}


def own_python(*arguments: str) -> list[str]:
    """Command line that runs this very Python without the current folder on its path."""
    return [sys.executable, "-P", *arguments]


def child_environment() -> dict[str, str]:
    """Environment for any child: ours, with every proxy of the machine kept out of the way.

    Between router, fakes and clients nothing may stand: they are all on this machine. Servers
    often lie in ``sbin``, which a user's PATH may lack, so it is searched last.
    """
    env = dict(os.environ)
    env.pop(CONTROL_VARIABLE, None)  # no router may control the fakes
    env["PATH"] = os.pathsep.join((env.get("PATH", os.defpath), _SYSTEM_FOLDERS))
    for name in ("NO_PROXY", "no_proxy"):
        env[name] = ",".join(filter(None, (_LOCAL, env.get(name))))
    return env


def resolve(command: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """(command line, environment) for a target's command.

    ``python -m reference_router`` and the like are ours and run in this very Python. Any other
    command is taken as it stands, ``python -m their_router`` too: it means their Python and their
    folder.
    """
    if tuple(command[:2]) == ("python", "-m") and set(command[2:3]) & set(OUR_MODULES):
        return own_python(*command[1:]), own_environment()
    env = child_environment()
    found = shutil.which(command[0], path=env["PATH"])
    return [found or command[0], *command[1:]], env
