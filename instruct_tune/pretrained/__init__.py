"""Where weights and tokenizers come from, and what is wrong with them."""
