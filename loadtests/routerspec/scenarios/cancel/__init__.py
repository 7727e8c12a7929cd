"""The load of the cancel checks: clients that disconnect."""
