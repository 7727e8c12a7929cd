"""A target file for a router that already runs."""
