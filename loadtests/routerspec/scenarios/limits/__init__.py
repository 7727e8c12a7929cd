"""The load of the checks of limits: at the edge, across windows, after a pause, with failures."""
