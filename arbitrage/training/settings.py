"""Settings of a training run."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from arbitrage.config import AbsolutePath, Config, Operational, as_tuple
from arbitrage.models.references import absolute_model
from arbitrage.training.mix import RowMixConfig
from arbitrage.training.monitor.settings import MonitorConfig
from arbitrage.training.reasoning import ReasoningUse
from arbitrage.training.sources import Source

Method = Literal["sft", "dpo", "reward"]

DATASETS: dict[Method, str] = {"sft": "sft", "dpo": "preference", "reward": "preference"}
"""The data set of a run that each method trains on, unless another is named."""

OURS = {
    "output_dir": "is `out`",
    "resume_from_checkpoint": "is found in `out`: the newest complete checkpoint",
    "trust_remote_code": "stays off: no code out of a model's repository is run",
    "hub_token": "would be written down; set the environment variable HF_TOKEN",
    "do_train": "always",
    "do_eval": "follows from eval_strategy",
    "do_predict": "is no part of training",
}
"""TRL's arguments that are not given, and why."""


class TrainConfig(Config):
    """One training run.

    Attributes:
        method: supervised fine-tuning, direct preference optimisation, or a scalar reward model.
        model: where it starts: a directory, a Hugging Face id, or `demo:<name>`.
        revision: commit of a Hugging Face id.
        data: where rows come from; several are put together, in this order.
        dataset: name of the data set of a run; by default `sft`, or `preference`.
        out: checkpoints, the student and its record go here.
        mix: how many rows of each language.
        reasoning: what becomes of the reasoning of rows that have some: `keep`, in the key that the student's chat
            template reads; `inline`, as `<think>` before the answer; `drop`. By default `keep`, and `drop` for a
            reward model, which scores answers without their reasoning.
        arguments: of TRL's SFTConfig, DPOConfig or RewardConfig.
        lora: arguments of peft's LoraConfig; none trains all weights.
        merge: write a LoRA student as whole weights too, in `model/`, so that any engine serves it.
        monitor: watch a student for over-optimisation while it trains.
    """

    method: Method
    model: Annotated[str, AfterValidator(absolute_model)]
    revision: str | None = None
    data: Annotated[
        tuple[Source, ...], BeforeValidator(as_tuple, json_schema_input_type=str | list[str]), Field(min_length=1)
    ]
    dataset: str | None = None
    out: Annotated[AbsolutePath, Operational]
    mix: RowMixConfig = RowMixConfig()
    reasoning: ReasoningUse | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    lora: dict[str, Any] | None = None
    merge: Annotated[bool, Operational] = True
    monitor: MonitorConfig | None = None

    @model_validator(mode="after")
    def _leaves_ours(self) -> "TrainConfig":
        for name, why in OURS.items():
            if name in self.arguments:
                raise ValueError(f"arguments.{name} cannot be set: it {why}")
        kwargs = self.arguments.get("model_init_kwargs") or {}
        if not isinstance(kwargs, dict):
            raise ValueError(f"arguments.model_init_kwargs: must be a mapping (found {kwargs!r})")
        if "trust_remote_code" in kwargs:
            raise ValueError(f"model_init_kwargs.trust_remote_code cannot be set: it {OURS['trust_remote_code']}")
        if self.monitor and self.method == "reward":
            raise ValueError("monitor: watches what a student would write, and a reward model writes nothing")
        return self

    @property
    def reasoning_use(self) -> ReasoningUse:
        """What becomes of reasoning."""
        return self.reasoning or ("drop" if self.method == "reward" else "keep")

    @property
    def dataset_name(self) -> str:
        """The data set of a run to train on."""
        return self.dataset or DATASETS[self.method]
