"""What people look at before anything is trained: rows, lengths, masks, batches."""
