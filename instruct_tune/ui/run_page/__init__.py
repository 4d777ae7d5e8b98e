"""A run as one HTML file that needs no server and no network, made of the pieces of the lab's page."""
