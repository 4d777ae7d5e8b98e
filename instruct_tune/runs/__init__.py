"""What a stored run says: its diagnosis, its differences, where it came from."""
