"""Runs on disk: where shards lie, how they are committed, what the manifest says, how a finished run is read."""
