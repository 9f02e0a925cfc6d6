"""Who answered what how well: rewards of prompts × teachers, from which routers are learned and judged."""
