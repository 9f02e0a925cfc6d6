"""A closed world of short questions in fourteen languages, with an exact checker and tiny real models to answer them."""
