"""`arbitrage train`: train students and reward models with TRL, on runs and exports."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arbitrage.cli.options import RUNS, JsonOption
from arbitrage.cli.screen import Screen, say
from arbitrage.errors import UserError

if TYPE_CHECKING:
    from arbitrage.training.settings import Method, TrainConfig
    from arbitrage.training.train import TrainedStudent

train = typer.Typer(
    help="Train students and reward models with TRL on runs and exports, and watch them for over-optimisation.",
    no_args_is_help=True,
)

DataArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DATA", help="Runs (a path, a name in `runs/`, `s3://…`), exports, Parquet or JSON Lines."
    ),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="M", help="A directory, a Hugging Face id, or `demo:<name>`.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Output directory: checkpoints, the model and its record.")
]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE.yaml", help="Config file (YAML) with all of this; the command line overrides it."
    ),
]
ArgumentsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Any argument of TRL's config, such as `learning_rate=1e-5`."),
]
DatasetOption = Annotated[
    str | None, typer.Option("--dataset", metavar="NAME", help="Data set of a run (default: `sft` or `preference`).")
]
MixOption = Annotated[
    list[str] | None,
    typer.Option(
        "--mix",
        metavar="as_is|equal|TAG=WEIGHT",
        help="Share of each language in the rows: `as_is`, `equal`, or `sw=2` (repeatable).",
    ),
]
RowsOption = Annotated[
    int | None, typer.Option("--rows", min=1, help="Number of rows (default: all that the mix allows).")
]
RepeatsOption = Annotated[
    int | None, typer.Option("--max-repeats", min=1, help="Maximum number of times a row is used (default: 1).")
]
ReasoningOption = Annotated[
    str | None,
    typer.Option(
        "--reasoning",
        metavar="keep|drop|inline",
        help="Reasoning of rows: in the key that the chat template reads, none, or as `<think>` in the answer "
        "(default: keep; for reward models: drop).",
    ),
]
LoraOption = Annotated[bool, typer.Option("--lora", help="Train an adapter (peft) instead of all weights.")]
LoraSetOption = Annotated[
    list[str] | None,
    typer.Option("--lora-set", metavar="NAME=VALUE", help="Any argument of peft's LoraConfig, such as `r=16`."),
]
MergeOption = Annotated[
    bool | None, typer.Option("--merge/--no-merge", help="Also write merged weights of a LoRA student (default).")
]
MonitorOption = Annotated[
    list[str] | None,
    typer.Option("--monitor", metavar="PROBE", help="Watch for over-optimisation on these preference rows."),
]
MonitorSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--monitor-set",
        metavar="KEY=VALUE",
        help="Option of the monitor, such as `every=20`, `alarms.mass_drop=0.1`.",
    ),
]
EarlyStopOption = Annotated[
    bool | None, typer.Option("--early-stop", help="Stop training at an alarm for all languages together.")
]

HELP = """

Rerun the same command to resume from the newest checkpoint; the training takes the same steps.
docs/training.md describes the output, and how to train without this command.

Example: `arbitrage train {method} quickstart --model my/model --out students/one --set learning_rate=1e-5`
"""


def command(method: "Method", about: str) -> Callable[..., None]:
    """Return the command that trains with a method."""

    def run(
        data: DataArgument = None,
        model: ModelOption = None,
        out: OutOption = None,
        config: ConfigOption = None,
        arguments: ArgumentsOption = None,
        dataset: DatasetOption = None,
        mix: MixOption = None,
        rows: RowsOption = None,
        max_repeats: RepeatsOption = None,
        reasoning: ReasoningOption = None,
        lora: LoraOption = False,
        lora_arguments: LoraSetOption = None,
        merge: MergeOption = None,
        monitor: MonitorOption = None,
        monitor_settings: MonitorSetOption = None,
        early_stop: EarlyStopOption = None,
        as_json: JsonOption = False,
    ) -> None:
        given = {
            "method": method,
            "data": data or None,
            "model": model,
            "out": None if out is None else str(out),
            "dataset": dataset,
            "merge": merge,
            "reasoning": reasoning,
            "mix": {"weights": _weights(mix), "rows": rows, "max_repeats": max_repeats},
            "lora": {} if lora or lora_arguments else None,
            "monitor": {"probe": monitor, "early_stop": early_stop or None},
        }
        sets = {"arguments": arguments, "lora": lora_arguments, "monitor": monitor_settings}
        _train(read_config(config, given, sets), as_json)

    run.__doc__ = about + HELP.format(method=method)
    return run


def read_config(file: Path | None, given: dict[str, Any], sets: Mapping[str, Sequence[str] | None]) -> "TrainConfig":
    """Return the config of a YAML file, overridden by what the command line gives (None: not given).

    Args:
        file: the YAML.
        given: key → value.
        sets: key of a mapping → assignments below it.

    Raises:
        ConfigError: the file or a value does not validate.
        UserError: the file is for another method.
    """
    from arbitrage.config import as_tuple, override, parse
    from arbitrage.training.settings import TrainConfig
    from arbitrage.yaml_text import load_yaml

    raw = load_yaml(file) if file else {}
    if raw.get("method", given["method"]) != given["method"]:
        raise UserError(f"{file}: method: is '{raw['method']}', yet the command is `train {given['method']}`")
    merged = _merge(raw, given)
    merged = override(merged, [f"{key}.{item}" for key, items in sets.items() for item in items or ()])
    for mapping, key in ((merged, "data"), (merged.get("monitor"), "probe")):
        if isinstance(mapping, dict) and isinstance(mapping.get(key), str | list):
            mapping[key] = [find_source(item) for item in as_tuple(mapping[key])]
    needed = {"model": "--model", "data": "DATA", "out": "--out"}
    if missing := [name for key, name in needed.items() if key not in merged]:
        raise UserError(f"train {given['method']}: needs {', '.join(missing)}")
    return parse(merged, TrainConfig, str(file) if file else f"train {given['method']}")


for _method, _about in {
    "sft": "Fine-tune a student on SFT rows.",
    "dpo": "Train a student with DPO on preference pairs.",
    "reward": "Train a reward model on preference pairs.",
}.items():
    train.command(_method)(command(_method, _about))  # type: ignore[arg-type]


def _merge(raw: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Override values, mapping by mapping."""
    merged = dict(raw)
    for key, value in given.items():
        if isinstance(value, dict):
            below = merged.get(key)
            found = _merge(below if isinstance(below, dict) else {}, value)
            if found or key == "lora":
                merged[key] = found
        elif value is not None:
            merged[key] = value
    return merged


def find_source(item: str) -> str:
    """Return a path or place; the name of a run in `runs/` becomes its path."""
    named = RUNS / str(item)
    return str(named) if not Path(item).exists() and (named / "run.json").exists() else item


def _weights(mix: list[str] | None) -> str | dict[str, float] | None:
    if not mix:
        return None
    if len(mix) == 1 and "=" not in mix[0]:
        return mix[0]
    weights = {}
    for item in mix:
        tag, _, weight = item.partition("=")
        try:
            weights[tag] = float(weight)
        except ValueError:
            raise UserError(
                f"--mix {item}: expected as_is, equal, or a language and its weight, as in sw=2"
            ) from None
    return weights


def _train(config: "TrainConfig", as_json: bool) -> None:
    from arbitrage.cli.interrupt import interruptible
    from arbitrage.cli.train_progress import training_progress
    from arbitrage.execution.context import RunContext
    from arbitrage.training.train import train as train_student

    with training_progress(Screen(stderr=True)) as shown, interruptible(shown.note, "writing a checkpoint") as stop:
        context = RunContext(training=lambda: nullcontext(shown), note=shown.note, stop=stop)
        student = train_student(config, context)
    if as_json:
        print(json.dumps({"model": str(student.path), "is_new": student.is_new} | student.record.model_dump()))
    else:
        _tell(student)


def _tell(student: "TrainedStudent") -> None:
    record = student.record
    if not student.is_new:
        say("already trained, nothing to do")
    languages = ", ".join(f"{tag} {count:,}" for tag, count in record.plan.by_language.items())
    say(f"rows: {record.plan.num_rows:,} ({languages})")
    loss = record.figures.get("train_loss")
    say(
        f"steps: {record.num_steps:,} in {record.seconds:,.0f} s" + (f", loss {loss:.4g}" if loss is not None else "")
    )
    for alarm in record.alarms:
        say(f"alarm: {alarm}")
    if record.stopped:
        say(f"stopped early: {record.stopped}")
    say(f"model: {student.path}")
    say(f"record: {student.path.parent / 'training.json'}")
