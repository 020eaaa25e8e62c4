"""A run in memory: network, data, optimizer and loss, and the object that trains them."""
