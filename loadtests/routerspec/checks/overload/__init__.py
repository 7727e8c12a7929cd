"""A router at its cap: whom it queues, whom it refuses, and with which answer."""
