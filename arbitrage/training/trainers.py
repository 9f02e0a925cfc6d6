"""Build the TRL trainer that a config asks for; nothing of what it does is done here.

https://huggingface.co/docs/trl: SFTTrainer, DPOTrainer, RewardTrainer.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arbitrage.errors import DataError, UserError
from arbitrage.models import loadable
from arbitrage.training.arguments import build, checked
from arbitrage.training.rows import TrainingRows
from arbitrage.training.settings import Method, TrainConfig

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback

CLASSES: dict[Method, str] = {"sft": "SFT", "dpo": "DPO", "reward": "Reward"}
"""Method → what TRL's config and trainer begin with."""

TASK_TYPES: dict[Method, str] = {"sft": "CAUSAL_LM", "dpo": "CAUSAL_LM", "reward": "SEQ_CLS"}

DEFAULTS: dict[str, Any] = {"disable_tqdm": True, "report_to": "none", "save_total_limit": 2}
"""Where we differ from TRL: progress is shown by the caller, and old checkpoints do not fill the disk."""

ON_CPU: dict[str, Any] = {"bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False}
"""TRL's defaults are for GPUs: without one it refuses bf16, and recomputing saves memory that nobody lacks."""


def training_arguments(config: TrainConfig) -> Any:
    """Return TRL's config for a training run.

    Raises:
        ConfigError: an argument does not exist, has a wrong type, or does not go with the others.
    """
    import trl

    target = getattr(trl, f"{CLASSES[config.method]}Config")
    given = checked(config.arguments, target, "arguments")
    defaults = DEFAULTS | (ON_CPU if _is_cpu(given) else {})
    values = defaults | given | {"output_dir": str(config.out)}
    if config.revision:
        values["model_init_kwargs"] = {"revision": config.revision} | (given.get("model_init_kwargs") or {})
    return build(values, target, "arguments")


def adapter_config(config: TrainConfig) -> Any:
    """Return peft's config of the adapter, or None where all weights are trained.

    Raises:
        ConfigError: an argument does not exist, or has a wrong type.
    """
    if config.lora is None:
        return None
    from peft import LoraConfig

    # A new reward head must be trained whole, an adapter on random weights learns nothing.
    head = {"modules_to_save": ["score"]} if config.method == "reward" else {}
    defaults = {"task_type": TASK_TYPES[config.method], "target_modules": "all-linear", **head}
    return build(defaults | checked(config.lora, LoraConfig, "lora"), LoraConfig, "lora")


def build_trainer(
    config: TrainConfig, arguments: Any, rows: TrainingRows, callbacks: Sequence["TrainerCallback"]
) -> "Trainer":
    """Load the model and hand everything to TRL.

    Raises:
        UserError: the model cannot be loaded, or TRL refuses the combination.
        DataError: rows are held out for no evaluation, or an evaluation has none.
    """
    import trl
    from transformers import PrinterCallback

    is_evaluated = arguments.eval_strategy != "no"
    if is_evaluated and rows.test is None:
        raise DataError(
            "arguments.eval_strategy: the data has no `test` split; see `arbitrage export --test-fraction`"
        )
    _require_writer(config)
    try:
        trainer = getattr(trl, f"{CLASSES[config.method]}Trainer")(
            loadable(config.model),
            args=arguments,
            train_dataset=rows.train,
            eval_dataset=rows.test if is_evaluated else None,
            peft_config=adapter_config(config),
            callbacks=list(callbacks),
        )
    except (OSError, ValueError, NotImplementedError, ImportError) as error:
        raise UserError(f"{config.method} of {config.model}: {' '.join(str(error).split())}") from error
    trainer.remove_callback(PrinterCallback)
    return trainer


def save_student(trainer: "Trainer", out: Path, *, is_adapter: bool, merge: bool) -> Path:
    """Write the weights and the tokenizer; return the directory to load.

    A LoRA student is its adapter in `adapter/`, and whole in `model/` where it is to be merged.
    """
    directory = out / ("adapter" if is_adapter else "model")
    trainer.save_model(str(directory))
    if is_adapter and merge and trainer.is_world_process_zero():
        directory = out / "model"
        merged = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
        merged.save_pretrained(directory, safe_serialization=True)
        trainer.processing_class.save_pretrained(directory)
    for folder in ("adapter", "model"):  # a pickle of this machine's paths; `training.json` says the same in words
        (out / folder / "training_args.bin").unlink(missing_ok=True)
    return directory


def quieten() -> None:
    """Keep TRL from telling its makers about this machine, and libraries from drawing bars of their own."""
    import datasets
    from huggingface_hub import constants
    from transformers.utils import logging as transformers_logging

    constants.HF_HUB_DISABLE_TELEMETRY = True
    logging.getLogger("trl").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()


def _require_writer(config: TrainConfig) -> None:
    """Refuse to fine-tune a model that scores instead of writing, for TRL fails on it without saying so."""
    from transformers import AutoConfig

    try:
        found = AutoConfig.from_pretrained(loadable(config.model), revision=config.revision, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{config.method} of {config.model}: {' '.join(str(error).split())}") from error
    kinds = found.architectures or []
    if config.method != "reward" and any("Classification" in kind for kind in kinds):
        raise UserError(f"{config.method} of {config.model}: {', '.join(kinds)} scores texts and writes none")


def _is_cpu(given: dict[str, Any]) -> bool:
    import torch

    return bool(given.get("use_cpu")) or not torch.accelerator.is_available()
