"""A training run from inside: what it is given, its trainer, its checkpoints."""
