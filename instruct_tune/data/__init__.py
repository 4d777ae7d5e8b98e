"""A file or the Hub becomes rows of instruction, input and answer, filtered and split."""
