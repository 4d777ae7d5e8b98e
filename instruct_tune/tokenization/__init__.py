"""Encode rows as token ids and labels."""
