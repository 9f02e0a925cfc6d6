"""The report of a run: strategies compared with intervals, and one self-contained HTML file."""
