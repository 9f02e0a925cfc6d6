"""Monitor preference training for over-optimisation on a fixed probe set (Shi et al., 2024, arXiv 2410.11677)."""
