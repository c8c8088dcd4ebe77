"""What the command does as a client: publish, subscribe. Its options and exit codes are the command's own (cli.py)."""
