"""What surrounds the tabs, and the timer that feeds them."""
