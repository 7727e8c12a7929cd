"""The load of the cancel checks: clients that hang up."""
