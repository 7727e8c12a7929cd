"""The main job: starts, scenarios, history, and only then the verdict."""
