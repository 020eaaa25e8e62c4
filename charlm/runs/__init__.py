"""A run on disk: its folder, its weights files, and how files are written and locked."""
