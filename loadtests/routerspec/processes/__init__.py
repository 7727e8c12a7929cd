"""What is started, and that it ends.

Decides command lines, ports, readiness and how children are stopped. Refuses to know what is
played on them.
"""
