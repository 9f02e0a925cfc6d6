"""What routers read off a prompt on a CPU, at tens of thousands of prompts a second."""
