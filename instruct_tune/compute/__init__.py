"""What a step spends its time and memory in, done faster: the same numbers."""
