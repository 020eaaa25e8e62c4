"""From characters to ids to windows."""
