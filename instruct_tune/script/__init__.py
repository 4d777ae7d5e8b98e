"""A run as plain Python of today's libraries: a script or a notebook that does the same without the lab."""
