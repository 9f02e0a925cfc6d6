"""Fusion: one strong teacher reads all answers to a prompt and writes a new one [2510.00931]."""
