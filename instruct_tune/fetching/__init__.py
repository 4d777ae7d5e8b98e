"""Where weights and tokenizers come from, counted while they come."""
