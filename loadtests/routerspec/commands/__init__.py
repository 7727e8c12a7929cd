"""The commands: one file each, with its options, its output and its exit code."""
