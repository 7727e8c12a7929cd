"""The load of the answer checks: providers that fail, stall and cut."""
