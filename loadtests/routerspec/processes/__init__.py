"""What is started, and that it ends, whatever becomes of us.

Decides command lines, ports, readiness and how children are stopped. Refuses to know what is
played on them.
"""
