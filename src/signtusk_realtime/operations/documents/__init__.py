"""What the service can be asked to do with documents: edit, decide conflicts, move on, read."""
