"""Answers as they are on the wire: bytes to a normal form, and normal forms compared. Pure.

Decides how bytes are read (by the standard of server-sent events and by each dialect's own rule),
what an official client does with what it cannot read, and which differences no translation can
avoid. Refuses to know who sent the bytes, and judges nothing.
"""
