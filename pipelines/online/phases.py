"""The trainings of the phases, as `arbitrage train` is asked for them."""

from pathlib import Path

from arbitrage.config import parse
from arbitrage.training.arguments import checked
from arbitrage.training.settings import Method, TrainConfig
from arbitrage.training.trainers import CLASSES, adapter_config
from pipelines.online.config import OnlineConfig, PhaseConfig
from pipelines.online.stages import Stage
from pipelines.online.watching import monitor_of


def training_config(
    config: OnlineConfig, stage: Stage, model: str, data: Path, out: Path, held_out: Path | None = None
) -> TrainConfig:
    """Return the training of a stage.

    Args:
        config: of all phases.
        stage: which student is to be made.
        model: where it starts.
        data: a run or an export.
        out: of the whole training.
        held_out: pairs to watch; None for the supervised phase, which is not watched.

    Raises:
        ConfigError: an argument is not one that can be given.
    """
    phase, monitor = phase_of(config, stage), config.monitor
    found = TrainConfig(
        method=method_of(stage),
        model=model,
        revision=config.student.revision if model == config.student.model else None,
        data=(str(data),),
        out=str(stage.folder(out)),
        mix=phase.mix,
        lora=phase.lora,
        monitor=monitor_of(monitor, held_out) if monitor and held_out else None,
    )
    given = {"arguments": {"seed": config.seed} | phase.arguments}
    return parse(found.model_dump(mode="json") | given, TrainConfig, stage.name)


def require_arguments(config: OnlineConfig) -> None:
    """Check the arguments of all phases before anything is asked or trained.

    Raises:
        ConfigError: an argument does not exist, cannot be given, or has a wrong type.
    """
    import trl

    for key, phase in (("sft", config.sft), ("dpo", config.dpo), ("rounds", config.rounds)):
        if phase is None:
            continue
        method = method_of(Stage(key))
        raw = {"method": method, "model": config.student.model, "data": key, "out": key}
        found = parse(raw | {"arguments": phase.arguments, "lora": phase.lora}, TrainConfig, key)
        checked(found.arguments, getattr(trl, f"{CLASSES[method]}Config"), f"{key}.arguments")
        adapter_config(found)


def phase_of(config: OnlineConfig, stage: Stage) -> PhaseConfig:
    """Return how a stage is trained."""
    phase = config.rounds if stage.iteration else config.sft if stage.name == "sft" else config.dpo
    return phase or PhaseConfig()


def method_of(stage: Stage) -> Method:
    """Return by what a stage is trained: the supervised phase by itself, all others by pairs."""
    return "sft" if stage.name == "sft" else "dpo"
