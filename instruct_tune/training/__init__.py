"""One training run, blocking."""
