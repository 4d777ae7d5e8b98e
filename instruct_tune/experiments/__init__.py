"""Measured experiments: a question, a guess, and the effect over five seeds."""
