"""Training: students and reward models, by TRL, on the rows of exports and runs."""
