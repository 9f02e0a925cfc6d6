"""Interfaces between the parts: steps, their workers, and the protocols that workers use."""
