"""One token after another: greedy, beams, and what a search looked at."""
