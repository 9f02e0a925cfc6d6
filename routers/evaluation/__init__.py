"""How good is a router: cross-validation that keeps clusters whole, always beside random, best single and oracle."""
