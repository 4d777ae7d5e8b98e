"""Run history on disk: one SQLite database, one snapshot file per run, one writing process."""
