"""Faster replacements for PyTorch and transformers operations, with the same results."""
