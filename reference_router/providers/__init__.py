"""The providers: a file for each, with its paths, its dialect and its model list."""
