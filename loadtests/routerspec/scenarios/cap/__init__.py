"""The load of the cap checks."""
