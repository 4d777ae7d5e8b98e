"""Teaching: the path through the lab (steps as data), and the rooms in which a class uses one lab together."""
