"""Features of prompts for routers, computed on a CPU at tens of thousands of prompts per second."""
