"""Training of students and reward models with TRL, on the rows of exports and runs."""
