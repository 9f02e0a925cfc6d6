"""The runs that make training rows: the offline one, and one of each round, with the student among the teachers."""

from pathlib import Path

from arbitrage.export.export import export_run
from arbitrage.selection import PairPolicy
from arbitrage.selection.pairs import PairSelection
from arbitrage.selection.policies import BestVsWorst, OnPolicy
from pipelines.online.config import OnlineConfig
from pipelines.online.stages import Stage, shards_of
from pipelines.online.students import student_entry, write_pool
from pipelines.online.surroundings import Surroundings
from pipelines.preference import PreferenceConfig
from routers.reward import RewardConfig

DATA_FOLDER = "data"
EXPORT_FOLDER = "rows"
PAIRS_FOLDER = "pairs"


def offline_rows(config: OnlineConfig, out: Path, surroundings: Surroundings) -> Path:
    """Do what is missing of the run of `data`; return the folder of its exported data sets.

    Raises:
        ArbitrageError: like `execute` and `export_run`.
    """
    run_dir = Path(config.data_run) if config.data_run else out / DATA_FOLDER
    surroundings.do_run(config.data, run_dir)
    wanted = ["preference", *(["sft"] if config.sft is not None else [])]
    held_out = config.monitor.held_out if config.monitor and not config.monitor.probe else 0.0
    export_run(run_dir, "trl", wanted, out / EXPORT_FOLDER, test_fraction=held_out)
    return out / EXPORT_FOLDER


def round_run(config: OnlineConfig, stage: Stage, model: str, out: Path, surroundings: Surroundings) -> Path:
    """Let the student of the stage before sample, and the reward rank; return the run with the round's pairs.

    Args:
        config: says how.
        stage: of the round.
        model: the student's weights.
        out: of the whole training.
        surroundings: do the run.
    """
    folder = stage.folder(out)
    pool = write_pool(folder, [student_entry(config, model)], Path(config.data.teachers))
    request = round_config(config, stage, pool)
    surroundings.do_run(request, folder / PAIRS_FOLDER, shards_of(config, stage.iteration))
    return folder / PAIRS_FOLDER


def round_config(config: OnlineConfig, stage: Stage, pool: Path) -> PreferenceConfig:
    """Return the preference pipeline of a round: that of `data`, with the student asked and no SFT rows."""
    rounds = config.rounds
    pairs = PairSelection(
        policy=_policy(config), min_gap=rounds.min_gap, max_pairs=rounds.max_pairs, iteration=stage.iteration
    )
    changes = {
        "name": f"{config.name}-{stage.name}",
        "prompts": rounds.prompts or config.data.prompts,
        "teachers": str(pool),
        "pool": (config.student.name, *config.opponents),
        "router": RewardConfig(),
        "compare": (),
        "sampling": rounds.sampling.model_copy(update={"seed": config.seed}),
        "sft": None,
        "fusion": None,
        "pairs": pairs,
    }
    return config.data.model_copy(update=changes)


def _policy(config: OnlineConfig) -> PairPolicy:
    if config.rounds.policy is not None:
        return config.rounds.policy
    return OnPolicy(student=config.student.name) if config.opponents else BestVsWorst()
