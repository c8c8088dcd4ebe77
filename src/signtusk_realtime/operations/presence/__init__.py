"""Who is there: kept, shared between nodes, told."""
