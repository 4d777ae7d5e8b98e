"""``python -m instruct_tune``."""
