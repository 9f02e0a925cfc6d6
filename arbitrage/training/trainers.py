"""Build the TRL trainer of a config.

https://huggingface.co/docs/trl: SFTTrainer, DPOTrainer, RewardTrainer.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arbitrage.errors import DataError, EngineStartError, UserError
from arbitrage.models.chat import ChatTokenizer
from arbitrage.models.loading import check_weights, dtype_of, load_config, load_tokenizer
from arbitrage.models.references import DEMO_PREFIX, loadable
from arbitrage.training.arguments import build, checked
from arbitrage.training.rows import TrainingRows
from arbitrage.training.settings import Method, TrainConfig

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback

CLASSES: dict[Method, str] = {"sft": "SFT", "dpo": "DPO", "reward": "Reward"}
"""Method → prefix of TRL's config and trainer."""

TASK_TYPES: dict[Method, str] = {"sft": "CAUSAL_LM", "dpo": "CAUSAL_LM", "reward": "SEQ_CLS"}

DEFAULTS: dict[str, Any] = {"disable_tqdm": True, "report_to": "none", "save_total_limit": 2}
"""Defaults that differ from TRL's: the caller shows progress, and old checkpoints do not fill the disk."""

ON_CPU: dict[str, Any] = {"bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False}
"""Defaults without a GPU, where TRL refuses bf16, and gradient checkpointing saves memory that is not scarce."""


def given_arguments(config: TrainConfig) -> dict[str, Any]:
    """Return the given arguments, in the types of TRL's config.

    Raises:
        ConfigError: an argument does not exist, or has a wrong type.
    """
    return checked(config.arguments, _target(config), "arguments")


def training_arguments(config: TrainConfig) -> Any:
    """Return TRL's config for a training run.

    Raises:
        ConfigError: an argument does not exist, has a wrong type, or does not go with the others.
    """
    target, given = _target(config), given_arguments(config)
    defaults = DEFAULTS | (ON_CPU if _is_cpu(given) else {})
    values = defaults | given | {"output_dir": str(config.out)}
    if config.revision:
        values["model_init_kwargs"] = {"revision": config.revision} | (given.get("model_init_kwargs") or {})
    return build(values, target, "arguments")


def adapter_config(config: TrainConfig) -> Any:
    """Return peft's config of the adapter, or None if all weights are trained.

    Raises:
        ConfigError: an argument does not exist, or has a wrong type.
    """
    if config.lora is None:
        return None
    from peft import LoraConfig

    # A new reward head must be trained fully: an adapter on random weights learns nothing.
    head = {"modules_to_save": ["score"]} if config.method == "reward" else {}
    defaults = {"task_type": TASK_TYPES[config.method], "target_modules": "all-linear", **head}
    return build(defaults | checked(config.lora, LoraConfig, "lora"), LoraConfig, "lora")


def build_trainer(
    config: TrainConfig, arguments: Any, rows: TrainingRows, callbacks: Sequence["TrainerCallback"]
) -> "Trainer":
    """Load the model and build the trainer.

    Raises:
        UserError: the model cannot be loaded, or TRL refuses the combination.
        DataError: an evaluation is configured without held-out rows.
    """
    import trl
    from transformers import PrinterCallback

    is_evaluated = arguments.eval_strategy != "no"
    if is_evaluated and not (rows.test is not None and len(rows.test)):
        raise DataError(
            "arguments.eval_strategy: the data has no `test` split; see `arbitrage export --test-fraction`"
        )
    check_base(config)
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
    _require_rows(trainer, arguments)
    return trainer


def _require_rows(trainer: "Trainer", arguments: Any) -> None:
    """Refuse to train if the trainer dropped all rows: it drops those longer than `max_length`."""
    limit = f"arguments.max_length ({getattr(arguments, 'max_length', None)} tokens)"
    if not len(trainer.train_dataset):
        raise DataError(f"no rows to train on: all are longer than {limit}")
    if trainer.eval_dataset is not None and not len(trainer.eval_dataset):
        raise DataError(f"no rows to evaluate on: all are longer than {limit}")


def save_student(trainer: "Trainer", out: Path, *, is_adapter: bool, merge: bool, dtype: str | None = None) -> Path:
    """Write the weights and the tokenizer; return the directory to load.

    A LoRA student is written as an adapter to `adapter/`, and with merged weights to `model/` if `merge` is set.

    Args:
        trainer: after its last step.
        out: output directory of the training.
        is_adapter: whether an adapter was trained.
        merge: also write merged weights.
        dtype: PyTorch's name of the precision of full weights; None: the precision of the training.
    """
    if not is_adapter:
        _cast(trainer.accelerator.unwrap_model(trainer.model), trainer, dtype)
    trainer.save_model(str(out / ("adapter" if is_adapter else "model")))
    if is_adapter and merge and trainer.is_world_process_zero():
        merged = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
        _cast(merged, trainer, dtype)
        merged.save_pretrained(out / "model", safe_serialization=True)
        trainer.processing_class.save_pretrained(out / "model")
    for folder in ("adapter", "model"):  # a pickle with local paths; `training.json` has the same information
        (out / folder / "training_args.bin").unlink(missing_ok=True)
    return out / ("model" if merge or not is_adapter else "adapter")


def student_dtype(config: TrainConfig) -> str | None:
    """Return the precision of a student's weights: its base's, unless `model_init_kwargs` sets another.

    TRL trains in fp32, so that small steps are not rounded away; a bf16 base has a bf16 student nevertheless.
    """
    if "dtype" in (config.arguments.get("model_init_kwargs") or {}):
        return None
    return dtype_of(config.model, load_config(config.model, config.revision, _owner(config)))


def name_base(out: Path, config: TrainConfig) -> None:
    """Put the base's name into the model cards, where TRL has none for a directory."""
    nameless = "[None](https://huggingface.co/None)"
    for card in [
        path for path in (out / "README.md", out / "model/README.md", out / "adapter/README.md") if path.is_file()
    ]:
        text = card.read_text(encoding="utf-8")
        if nameless in text:
            name = config.model if config.model.startswith(DEMO_PREFIX) else Path(config.model).name
            card.write_text(text.replace(nameless, f"`{name}`"), encoding="utf-8")


def _cast(model: Any, trainer: "Trainer", dtype: str | None) -> None:
    import torch

    is_sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled  # these write what they gather
    if dtype is not None and not is_sharded and not getattr(model, "is_quantized", False):
        model.to(getattr(torch, dtype))


def quieten() -> None:
    """Disable TRL's telemetry, and progress bars of libraries."""
    import datasets
    from huggingface_hub import constants
    from transformers.utils import logging as transformers_logging

    constants.HF_HUB_DISABLE_TELEMETRY = True
    logging.getLogger("trl").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()


def _target(config: TrainConfig) -> type:
    import trl

    found: type = getattr(trl, f"{CLASSES[config.method]}Config")
    return found


def check_base(config: TrainConfig) -> None:
    """Check the base model: its files, weights, tokenizer and chat template.

    Raises:
        UserError: TRL would fail on it, or train on random weights or on prompts without their text.
    """
    owner = _owner(config)
    try:
        found = load_config(config.model, config.revision, owner)
        kinds = _architectures(found, config)
        loader = "AutoModelForSequenceClassification" if config.method == "reward" else "AutoModelForCausalLM"
        head = ("score.", "classifier.") if config.method == "reward" else ()
        if config.method != "reward" and any("Classification" in kind for kind in kinds):
            raise UserError(f"{owner}: {', '.join(kinds)} scores texts and cannot generate")
        check_weights(config.model, config.revision, owner, loader=loader, may_lack=head)
        tokenizer = load_tokenizer(config.model, config.revision, owner)
        chat = ChatTokenizer(tokenizer, owner=owner, model=config.model, revision=config.revision)
    except EngineStartError as error:
        raise UserError(str(error)) from error
    if chat.format().takes_parts:
        raise UserError(
            f"{owner}: the chat template reads content as a list of parts, and a trainer gives it texts: turns would "
            "be trained on without what they say"
        )


def _architectures(found: Any, config: TrainConfig) -> list[str]:
    kinds = found.architectures
    if isinstance(kinds, list) and kinds and all(isinstance(kind, str) for kind in kinds):
        return kinds
    if config.method == "reward" and not kinds:
        return []
    raise UserError(
        f"{_owner(config)}: config.json: architectures is {kinds!r}, expected a list such as [LlamaForCausalLM]"
    )


def _owner(config: TrainConfig) -> str:
    return f"{config.method} of {config.model}"


def _is_cpu(given: dict[str, Any]) -> bool:
    import torch

    return bool(given.get("use_cpu")) or not torch.accelerator.is_available()
