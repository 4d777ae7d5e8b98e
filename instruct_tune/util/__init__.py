"""Helpers for all stages: atomic writes, progress, memory, the device."""
