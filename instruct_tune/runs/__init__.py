"""Stored runs: diagnosis, differences, continuation and provenance."""
