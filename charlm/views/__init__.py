"""Pictures of runs and models."""
