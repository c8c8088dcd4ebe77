"""What nodes tell one another."""
