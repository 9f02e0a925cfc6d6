"""How routers are learned from outcomes. One file per method; `AnyLearner` is the union of their configs."""

from typing import Annotated

from pydantic import Field

from routers.learners.auto import AutoLearner
from routers.learners.baselines.error_vectors import ErrorVectorsLearner
from routers.learners.baselines.factorisation import FactorisationLearner
from routers.learners.baselines.mlp import MlpLearner
from routers.learners.blend import BlendLearner
from routers.learners.clusters import ClustersLearner
from routers.learners.consensus import ConsensusLearner
from routers.learners.descriptor import DescriptorLearner
from routers.learners.encoder import EncoderLearner
from routers.learners.knn import KnnLearner
from routers.learners.learned import LearnedLearner
from routers.learners.ridge import RidgeLearner
from routers.learners.single import SingleLearner
from routers.learners.soft_label import SoftLabelLearner
from routers.learners.table import TableLearner

AnyLearner = Annotated[
    SingleLearner
    | TableLearner
    | KnnLearner
    | ClustersLearner
    | RidgeLearner
    | LearnedLearner
    | SoftLabelLearner
    | DescriptorLearner
    | EncoderLearner
    | MlpLearner
    | FactorisationLearner
    | ErrorVectorsLearner
    | BlendLearner
    | ConsensusLearner
    | AutoLearner,
    Field(discriminator="kind"),
]
