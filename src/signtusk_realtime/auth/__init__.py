"""From credentials to identities."""
