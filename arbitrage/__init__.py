"""Multilingual training data from a pool of teacher models: route, generate, score, select, export."""

__version__ = "0.1.0"
