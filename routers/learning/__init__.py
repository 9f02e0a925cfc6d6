"""Train routers on rewards. One file per method; `AnyLearner` is the union of their configs."""

from typing import Annotated

from pydantic import Field

from routers.learning.auto import AutoLearner
from routers.learning.blend import BlendLearner
from routers.learning.clusters import ClustersLearner
from routers.learning.consensus import ConsensusLearner
from routers.learning.descriptor import DescriptorLearner
from routers.learning.encoder import EncoderLearner
from routers.learning.knn import KnnLearner
from routers.learning.learned import LearnedLearner
from routers.learning.ridge import RidgeLearner
from routers.learning.soft_label import SoftLabelLearner
from routers.learning.table import SingleLearner, TableLearner

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
    | BlendLearner
    | ConsensusLearner
    | AutoLearner,
    Field(discriminator="kind"),
]
