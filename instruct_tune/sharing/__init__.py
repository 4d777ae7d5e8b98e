"""What leaves the lab and comes in: plots, cards, merged models, runs from elsewhere."""
