"""The command line: ``python -m instruct_tune``."""
