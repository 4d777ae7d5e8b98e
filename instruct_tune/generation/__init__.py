"""A prompt becomes an answer: greedy, sampling, beam search."""
