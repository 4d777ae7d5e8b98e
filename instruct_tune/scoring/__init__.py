"""Answers measured: losses, baselines, verdicts, and the files that others can check."""
