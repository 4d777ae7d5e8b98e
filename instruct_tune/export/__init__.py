"""What leaves the lab, and runs that come in."""
