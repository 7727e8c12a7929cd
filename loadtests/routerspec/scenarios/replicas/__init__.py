"""The load of the checks about several replicas of one router."""
