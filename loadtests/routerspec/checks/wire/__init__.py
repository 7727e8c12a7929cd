"""What a client reads on the wire: HTTP itself, and the frames that its dialect needs."""
