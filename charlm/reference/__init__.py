"""The same networks in plain NumPy: what the layers are checked against, and what samples text."""
