"""Files that others wrote: one reader for prompts, recordings, answers to judge, profiles, training and matrices."""
