"""The history of runs on disk: SQLite, a file a run, one writer."""
