"""Text: from characters to ids to windows."""
