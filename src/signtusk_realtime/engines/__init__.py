"""Engines: where logs and the records beside them are kept.

Owns: the port (engine.py) and its implementations.   Not: which engine serves (service.py and config.py choose), what bodies mean.
"""
