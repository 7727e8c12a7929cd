"""The load of the model-list checks."""
