"""Whose answers stand beside each other, and what they are called."""

from __future__ import annotations

NAMES = {"base": "Base", "tuned": "Tuned"}
"""Who always answers."""
THIRD = "third"
WHO = (*NAMES, THIRD)
"""Whose answers Compare has a box for; what a third is called depends on who it is."""
