"""A closed world of short questions in fourteen languages, an exact checker, and tiny real models."""
