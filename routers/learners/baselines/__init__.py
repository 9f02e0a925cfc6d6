"""Re-implementations of published routers, for comparison: the evaluation runs them beside ours."""
