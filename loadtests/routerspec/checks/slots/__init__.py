"""The slots: all of them are used, passed on, and given back after every ending."""
