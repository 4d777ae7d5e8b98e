"""Runs once they are there: brought back, compared, explained, continued."""
