"""`arbitrage router judges`, `samples` and `new-models`: robustness studies of routers."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arbitrage.cli.options import JsonOption
from arbitrage.cli.router.evaluate import (
    GroupOption,
    LanguageOption,
    MatrixOption,
    ModelsOption,
    RewardOption,
    RunOption,
    TaskOption,
    read_outcomes,
)
from arbitrage.cli.screen import say
from arbitrage.processes.pools import num_cpus

if TYPE_CHECKING:
    from arbitrage.candidates.matrix import RewardMatrix
    from routers.evaluation.new_models import NewModelStudy

SeedOption = Annotated[int, typer.Option("--seed", help="Seed of folds, draws and bootstrap.")]


def judge_routers(
    matrix: MatrixOption = None,
    run: RunOption = None,
    models: ModelsOption = None,
    reward_column: RewardOption = None,
    group_column: GroupOption = None,
    task_column: TaskOption = None,
    language_column: LanguageOption = "language",
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure whether routing still gains under a judge that it has not seen: hold out each reward in turn.

    The table shows: the naive router, which maximises the mean of the other rewards; the consensus router, which
    leaves the best single model only where they agree; and `auto`, which also requires a gain under each of them.

    Example: `arbitrage router judges --matrix rewards.parquet --reward-column bleurt --reward-column comet
    --reward-column gpt_judge`
    """
    from arbitrage.cli.router.view import VALUE, print_figures, status_line
    from arbitrage.errors import UserError
    from arbitrage.report.formatting import NUMBER
    from arbitrage.report.rendering import Column, Figures, Row, ungrouped
    from routers.evaluation.validity import measure_agreement, select_by_each_reward

    outcomes = _read(matrix, run, models, reward_column, group_column, task_column, language_column)
    if len(outcomes.rewards_by_name) < 2:
        raise UserError("router judges: give at least two rewards, each with its own --reward-column")
    with status_line() as told:
        judges = select_by_each_reward(outcomes, seed=seed, jobs=min(5, num_cpus()), told=told)
    agreement = measure_agreement(outcomes)
    if as_json:
        print(json.dumps({"judges": [asdict(j) for j in judges], "agreement": [asdict(a) for a in agreement]}))
        return
    gains = [Row(j.judge, (j.naive, j.consensus, j.auto, j.oracle, _counted(j.chose))) for j in judges]
    columns = (
        *(Column(heading, VALUE) for heading in ("naive", "consensus", "auto", "oracle of the others")),
        Column("auto chose"),
    )
    title = "Gain above the best single model, by the reward held out"
    print_figures(Figures(title, "held-out judge", columns, ungrouped(gains)))
    correlations = [Row(a.first, (a.second, a.within_prompts, *_extremes(a.of_means))) for a in agreement]
    columns = (
        Column("reward"),
        Column("within prompts", NUMBER),
        *(Column(heading, NUMBER) for heading in ("model means, worst language", "best language")),
    )
    print_figures(Figures("Rank correlation of rewards", "reward", columns, ungrouped(correlations)))


def trace_router(
    matrix: MatrixOption = None,
    run: RunOption = None,
    models: ModelsOption = None,
    reward_column: RewardOption = None,
    group_column: GroupOption = None,
    task_column: TaskOption = None,
    language_column: LanguageOption = "language",
    learner: Annotated[str, typer.Option("--learner", metavar="KIND", help="Which router learns.")] = "learned",
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Find out how many prompts, each scored with every model, a router needs.

    Example: `arbitrage router samples --matrix rewards.parquet`
    """
    from arbitrage.cli.router.train import learner_of
    from arbitrage.cli.router.view import print_figures, status_line
    from arbitrage.report.formatting import SHARE
    from arbitrage.report.rendering import Column, Figures, Row, ungrouped
    from routers.evaluation.samples import trace_samples

    config = learner_of(learner, [])
    outcomes = _read(matrix, run, models, reward_column, group_column, task_column, language_column)
    with status_line() as told:
        curve = trace_samples(config, outcomes, seed=seed, told=told)
    if as_json:
        print(json.dumps(asdict(curve)))
        return
    rows = [Row(f"{p.num_prompts:,}", (p.gap_closed, p.single_gap_closed)) for p in curve.points]
    columns = (Column("router", SHARE), Column("best single of these", SHARE))
    print_figures(Figures(f"{curve.router}: gap closed", "prompts", columns, ungrouped(rows)))
    if not curve.points or curve.points[-1].gap_closed <= 0:
        say("all prompts together gain nothing over the best single model")
        return
    enough = f"{curve.enough:,} prompts give" if curve.enough else "only all prompts give"
    say(f"{enough} 90 % of what all of them give")


def new_models(
    matrix: MatrixOption = None,
    run: RunOption = None,
    models: ModelsOption = None,
    reward_column: RewardOption = None,
    group_column: GroupOption = None,
    task_column: TaskOption = None,
    language_column: LanguageOption = "language",
    seed: SeedOption = 0,
    deals: Annotated[
        int,
        typer.Option(
            "--deals", min=1, help="Number of random assignments of prompts to folds; the range shows the noise."
        ),
    ] = 1,
    as_json: JsonOption = False,
) -> None:
    """Measure the gain from each model as a new one, with few scored prompts: each model in turn is the new one.

    Example: `arbitrage router new-models --matrix rewards.parquet`
    """
    from arbitrage.cli.router.view import GAIN, print_figures, status_line
    from arbitrage.report.formatting import WHOLE_SHARE
    from arbitrage.report.rendering import Column, Figures, Row, ungrouped
    from routers.evaluation.new_models import study_new_models
    from routers.new_models.probe_prompts import NUM_PROBE_PROMPTS

    outcomes = _read(matrix, run, models, reward_column, group_column, task_column, language_column)
    with status_line() as told:
        study = study_new_models(outcomes, seed=seed, num_deals=deals, told=told)
    if as_json:
        print(json.dumps(asdict(study)))
        return
    shares = [Row(f"{n}", (_kept(study, n), study.kept_by_means[n], study.routing_kept[n])) for n in study.kept]
    headings = ("collaborative ridge", "plain means", "kept of all that routing gains")
    title = f"Share of a new model's full gain (mean {study.full_gain:+.4f}) that this many prompts give"
    columns = tuple(Column(heading, WHOLE_SHARE) for heading in headings)
    print_figures(Figures(title, "prompts", columns, ungrouped(shares)))
    size = min(study.joined_by_teacher, key=lambda size: abs(size - NUM_PROBE_PROMPTS))
    joined = study.joined_by_teacher[size]
    gains = [Row(name, (full, joined[name])) for name, full in study.full_by_teacher.items()]
    columns = (Column("all its rewards known", GAIN), Column(f"from {size} prompts", GAIN))
    title = "What each model adds to the mean reward of the pool"
    print_figures(Figures(title, "new model", columns, ungrouped(gains)))
    say(_of_helpful(study, size))
    if study.routing_gain <= 0:
        say("routing gains nothing over the best single model here")
    else:
        left = f"{study.routing_kept[0]:.0%} of what routing gains ({study.routing_gain:+.4f})"
        say(f"without the new model, {left} is left")


def _of_helpful(study: "NewModelStudy", size: int) -> str:
    from arbitrage.report.formatting import WHOLE_SHARE

    kept, all_of_them = study.kept_of_helpful[size], len(study.full_by_teacher)
    if kept is None:
        return f"none of the {all_of_them} adds anything beyond noise, so there are no shares to show"
    share = WHOLE_SHARE.full(kept)
    helpful = f"{len(study.helpful)} of {all_of_them} bring something beyond noise"
    told = f"{helpful}; {share} of it is had from {size} prompts"
    if len(study.helpful) == all_of_them:
        return told
    return f"{told}; each of the others changes the pool by {study.gain_of_others[size]:+.4f}"


def _kept(study: "NewModelStudy", size: int) -> str:
    shares = study.kept_by_deal[size]
    spread = f" ({min(shares):.0%} to {max(shares):.0%})" if len(shares) > 1 else ""
    return f"{study.kept[size]:.0%}{spread}"


def _read(
    matrix: list[Path] | None,
    run: str | None,
    models: str | None,
    reward_column: list[str] | None,
    group_column: str | None,
    task_column: str | None,
    language_column: str,
) -> "RewardMatrix":
    from arbitrage.cli.router.view import tell_left_out

    reading = read_outcomes(
        matrix, run, models, reward_column, group_column, None, task_column, language_column, None
    )
    tell_left_out(reading)
    say(f"{len(reading.matrix):,} prompts, {len(reading.matrix.teachers)} models", file=sys.stderr)
    return reading.matrix


def _counted(chose: Sequence[str]) -> str:
    return ", ".join(f"{name} {chose.count(name)}" for name in dict.fromkeys(chose))


def _extremes(values: Mapping[str, float]) -> list[Any]:
    worst, best = min(values, key=lambda k: values[k]), max(values, key=lambda k: values[k])
    return [f"{values[worst]:.2f} ({worst})", f"{values[best]:.2f} ({best})"]
