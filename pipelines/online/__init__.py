"""Iterative preference training: supervised on a run's data, then on its pairs, then on what the student samples.

`data` (run) ─> sft ─> dpo ─> round 1: student + pool ─> pairs ─> dpo ─> round 2: …
                       └─────────── evaluations, by the training's reward and by unseen judges ───────────┘

METHODS §6; Aya Expanse (2024, arXiv 2412.04261): offline preference training, then online rounds in which the policy
samples and the reward model ranks.
"""
