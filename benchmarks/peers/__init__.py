"""The servers that others wrote, as contestants: `make bench-all` measures beside them."""
