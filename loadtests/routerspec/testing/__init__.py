"""What the pytest plugin hands out. Nothing but the standard library and pytest is imported here:
it runs inside somebody else's tests, where a package may have the name of one of ours.
"""
