"""The commands: one file each, with its options, its output and its exit code."""

from typing import Final

TARGET_HELP: Final = (
    "built-in router (see `routerspec targets`) or target file (ends in .toml or contains a /); "
    "NAME:VARIANT for a variant"
)
