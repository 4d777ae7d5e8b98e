"""From a file or the Hub to three text columns, and what may be filtered out of them."""
