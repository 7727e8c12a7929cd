"""Which scenarios are played on which start of the router.

Decides the order, and which starts may run side by side. Refuses to know how anything is started or
played.
"""
