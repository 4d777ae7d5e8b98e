"""Views of data, tokens and batches for a person, before training."""
