"""A row becomes ids and labels."""
