"""The fixtures of the pytest plugin.

Imports only the standard library and pytest: it runs in other people's test processes, where a
package may have the same name as one of ours.
"""
