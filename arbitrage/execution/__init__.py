"""Run a DAG of steps: plan what is missing, do it shard by shard on a backend, check the conservation law."""
