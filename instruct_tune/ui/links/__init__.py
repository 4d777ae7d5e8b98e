"""A link that fills and locks the form, and the page inside a room."""
