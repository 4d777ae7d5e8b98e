"""One blocking training run."""
