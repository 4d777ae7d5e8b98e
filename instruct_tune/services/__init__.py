"""What the lab does for people; each service owns its state."""
