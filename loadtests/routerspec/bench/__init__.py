"""Routers side by side in one run: what each adds, carries and takes."""
