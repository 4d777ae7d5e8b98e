"""What people look at before anything is trained."""
