"""Estimate a run's time, memory and disk space before it starts."""
