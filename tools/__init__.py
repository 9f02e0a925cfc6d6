"""Scripts beside the library."""
