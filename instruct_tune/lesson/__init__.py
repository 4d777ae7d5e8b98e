"""The path through the lab: steps as data, each with a text, one thing to do, and what it shows on the page."""
