"""Runs on disk: file names, commits, the manifest, reading a finished run."""
