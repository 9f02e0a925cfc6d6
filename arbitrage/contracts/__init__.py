"""The borders between parts: steps, the workers that do them, and the protocols that workers are made of."""
