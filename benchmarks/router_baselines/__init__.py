"""Learners of the routing literature that exist to be compared with; no pipeline can name them."""

from collections.abc import Sequence

from benchmarks.router_baselines.error_vectors import ErrorVectorsLearner
from benchmarks.router_baselines.factorisation import FactorisationLearner
from benchmarks.router_baselines.mlp import MlpLearner
from routers.learning.learner import LearnerConfig

ROUTER_BASELINES: Sequence[LearnerConfig] = (MlpLearner(), FactorisationLearner(), ErrorVectorsLearner())
