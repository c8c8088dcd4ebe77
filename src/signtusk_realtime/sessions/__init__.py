"""Who a client is, what it was granted and what it asked for. Pure."""
