"""The same numbers as PyTorch and transformers compute, faster."""
