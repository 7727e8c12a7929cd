"""The commands: one file each, with its options, its output and its exit code."""

from typing import Final

TARGET_HELP: Final = "a built-in router, or a target file (ends in .toml or has a /); NAME:VARIANT"
