"""A run's configuration, what it may hold, and the environment of the process."""
