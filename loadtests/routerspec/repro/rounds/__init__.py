"""What the scripts show, a file for each kind of violation. Each is the lower half of a script."""
