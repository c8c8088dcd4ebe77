"""Fakes, samples and helpers that several suites share."""
