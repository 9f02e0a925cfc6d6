"""The monitor for existing models and checkpoints: the same checks, after training."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from arbitrage.errors import UserError
from arbitrage.models.references import absolute_model, loadable
from arbitrage.training.checkpoints import checkpoints, step_of
from arbitrage.training.monitor.alarms import TrainingAlarm, find_alarms
from arbitrage.training.monitor.curves import CURVES_FILE, Check, write_checks
from arbitrage.training.monitor.measure import check_model
from arbitrage.training.monitor.picture import PICTURE_FILE, write_picture
from arbitrage.training.monitor.probe import load_probe
from arbitrage.training.monitor.settings import MonitorConfig
from arbitrage.training.record import read_plan, read_record
from arbitrage.training.trainers import quieten

ADAPTER_FILE = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A model at a step."""

    step: int
    model: str


@dataclass(frozen=True, slots=True)
class MonitoredModel:
    """The measurements."""

    checks: tuple[Check, ...]
    alarms: tuple[TrainingAlarm, ...]


def monitor_models(
    models: Sequence[str], config: MonitorConfig, out: Path, note: Callable[[str], None] = lambda sentence: None
) -> MonitoredModel:
    """Check models in the order of training; write `monitor.jsonl` and `monitor.svg`.

    Args:
        models: directories, Hugging Face ids, `demo:<name>`, checkpoints, or the output of a training run: its base
            model, its checkpoints and the student. Models without a step are numbered 0, 1, 2 in their order.
        config: the probe set and the alarms; `every` and `early_stop` are ignored.
        out: output directory.
        note: called with progress messages.

    Raises:
        UserError: a model cannot be loaded, or two of them have the same step.
        DataError: the probe set cannot be read.
    """
    quieten()
    snapshots = order_snapshots(models)
    checks: list[Check] = []
    for snapshot in snapshots:
        note(f"step {snapshot.step}: {snapshot.model}")
        model, tokenizer = load_writer(snapshot.model)
        probe = load_probe(config, tokenizer, out)
        found = check_model(model, tokenizer, probe, config, snapshot.step)
        checks += [replace(check, model=snapshot.model) for check in found]
    alarms = find_alarms(checks, config.alarms)
    write_checks(out / CURVES_FILE, checks)
    write_picture(out / PICTURE_FILE, checks, alarms)
    return MonitoredModel(tuple(checks), tuple(alarms))


def order_snapshots(models: Iterable[str]) -> list[Snapshot]:
    """Return what to check, by step. Raises UserError if two have the same step."""
    known, unknown = [], []
    for model in models:
        found = _of_training(Path(model))
        known += found
        if not found:
            unknown.append(model)
    if known and unknown:
        raise UserError(f"{unknown[0]}: has no step, but other models do; name the output of its training")
    found = sorted(known, key=lambda s: s.step) or [Snapshot(i, model) for i, model in enumerate(unknown)]
    for one, other in pairwise(found):
        if one.step == other.step:
            raise UserError(f"{one.model} and {other.model} both have step {one.step}")
    return found


def load_writer(model: str) -> tuple[Any, Any]:
    """Load a causal language model, or an adapter on its model, and the tokenizer; onto a GPU if there is one.

    Raises:
        UserError: it cannot be loaded.
    """
    import torch
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoModelForCausalLM, AutoTokenizer

    is_adapter = (Path(model) / ADAPTER_FILE).is_file()
    loader = AutoPeftModelForCausalLM if is_adapter else AutoModelForCausalLM
    try:
        path = loadable(absolute_model(model))
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        found = loader.from_pretrained(path, trust_remote_code=False, use_safetensors=True)
    except Exception as error:  # for broken files transformers raises many types
        raise UserError(f"{model}: cannot be loaded: {' '.join(str(error).split())}") from error
    return found.to("cuda" if torch.cuda.is_available() else "cpu").eval(), tokenizer


def _of_training(directory: Path) -> list[Snapshot]:
    """Return the snapshots of a checkpoint or of a training's output; None for anything else."""
    step = step_of(directory)
    if step is not None:
        return [Snapshot(step, str(directory))]
    plan, record = read_plan(directory), read_record(directory)
    if plan is None:
        return []
    found = {0: Snapshot(0, plan.model)}
    found |= {step: Snapshot(step, str(path)) for path in checkpoints(directory) if (step := step_of(path))}
    if record is not None:
        found[record.num_steps] = Snapshot(record.num_steps, str(directory / record.student))
    return list(found.values())
