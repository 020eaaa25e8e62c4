"""The inside of a trained network: recordings of it, and cells that follow the text."""
