"""Run configuration and its validation, environment variables, and viewers."""
