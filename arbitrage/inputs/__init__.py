"""Read files of others: one reader for prompts, recordings, responses to judge, profiles, training and matrices."""
