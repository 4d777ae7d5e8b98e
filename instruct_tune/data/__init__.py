"""Load a dataset from a file or the Hub as rows of instruction, input and output; filter and split it."""
