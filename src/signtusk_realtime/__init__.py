"""signtusk-realtime: what happens to documents, told at once, in order, without losing anything."""

__version__ = "0.1.0"
