"""Which scenarios are played on which start of the router.

Decides order and company. Refuses to know how anything is started or played.
"""
