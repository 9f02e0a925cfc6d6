"""Routers: which teachers a prompt is sent to. One file per policy; `RouterConfig` is the union of their configs."""

from typing import Annotated

from pydantic import Field

from routers.all import AllConfig
from routers.bandit import BanditConfig
from routers.language import LanguageConfig
from routers.learned import LearnedConfig
from routers.single import SingleConfig
from routers.uniform import UniformConfig

RouterConfig = Annotated[
    SingleConfig | UniformConfig | LanguageConfig | AllConfig | BanditConfig | LearnedConfig,
    Field(discriminator="kind"),
]
