"""What a text is, without a model: its language, its script, patterns in it, what changed from one to another."""
