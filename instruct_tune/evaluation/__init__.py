"""Answers become scores, and scores a sentence."""
