"""What a run did, for people: strategies compared with intervals, and one self-contained HTML file."""
