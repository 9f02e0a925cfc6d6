"""The console script. Heavy libraries are imported by the command that needs them, never by `--help`."""
