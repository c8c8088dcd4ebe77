"""Fuzzing: what comes in from strangers, as bytes that nobody wrote."""
