"""Profiles of data sets: every metric by language, teacher and source, and differences between data sets."""
