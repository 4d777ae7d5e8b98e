"""How the history is kept: schema, states, one writer, room on the disk."""
