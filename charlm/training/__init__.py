"""Training in memory: network, data, optimizer, loss, and the object that joins them."""
