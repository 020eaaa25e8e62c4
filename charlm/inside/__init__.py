"""What happens inside a trained network: recording, and finding cells that follow the text."""
