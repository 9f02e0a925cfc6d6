"""Paths of the project's files, and of the data beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Of the project."""

SHARED = ROOT.parent / "shared"
"""Public data that is not part of the project: tests that read it skip where it is absent."""
