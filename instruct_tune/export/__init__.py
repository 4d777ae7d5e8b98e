"""Exports of runs, and imports."""
