"""HTTP/1.1 as all ports speak it, down to the reset.

Decides how bytes are read, written and cut. Refuses to know what the bytes mean.
"""
