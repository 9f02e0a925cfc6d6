"""Run a DAG of steps: plan what is missing, run it shard by shard on a backend, check the accounting."""
