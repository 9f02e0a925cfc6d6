"""Active inheritance: choose sampled answers by properties one can measure but not differentiate [2407.01490]."""
