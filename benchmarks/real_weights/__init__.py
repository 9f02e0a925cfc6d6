"""A run over real public weights: who answers correctly, in which language, and how fast."""
