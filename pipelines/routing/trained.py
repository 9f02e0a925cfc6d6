"""The trained router of a run: read it, write it as files, describe it."""

import tempfile
from pathlib import Path

from arbitrage.runs.paths import AnyPath
from arbitrage.runs.run import open_run
from arbitrage.runs.store import commit_bytes
from routers.learning.artifact import ARRAYS, VALUES, Artifact, save_artifact
from routers.learning.packing import unpack
from routers.learning.train import ROUTER_STEP

FEW_PROMPTS = 256
"""With fewer prompts, learned routers were worse than the best single teacher (docs/routing.md)."""


def trained_by(run_dir: AnyPath) -> Artifact:
    """Return the router trained by the step `train-router` of a run.

    Raises:
        RunDirectoryError: there is no run, or it trains no router.
    """
    run = open_run(run_dir)
    return unpack(run.table(ROUTER_STEP), str(run.directory(ROUTER_STEP)))


def export_router(run_dir: AnyPath, artifact: Artifact) -> AnyPath:
    """Write a router to `export/router/` of a run, on a disk or in a store; return its path."""
    place = run_dir / "export" / "router"
    with tempfile.TemporaryDirectory(prefix="arbitrage-") as beside:
        save_artifact(Path(beside), artifact)
        for name in (ARRAYS, VALUES):  # the values last, because they mark a complete router
            commit_bytes(place / name, (Path(beside) / name).read_bytes())
    return place


def describe_router(artifact: Artifact) -> list[str]:
    """Describe a router and its training in a few lines."""
    about = artifact.about
    dropped = f" ({about['num_dropped']:,} left out: a candidate has no score)" if about.get("num_dropped") else ""
    lines = [f"learned from {about['num_prompts']:,} prompts in {len(about['languages'])} languages{dropped}"]
    if about["num_prompts"] < FEW_PROMPTS and artifact.kind != "best_single" and "chosen" not in about:
        lines.append(
            f"few: from under {FEW_PROMPTS} prompts a router often does worse than the best single teacher; "
            "the learner `auto` routes only where it likely pays"
        )
    if "chosen" in about:
        lines.append(f"auto chose {about['chosen']}: {about['reason']}")
    if "strengths" in about:
        strengths = ", ".join(f"{name} {value:g}" for name, value in about["strengths"].items() if value)
        lines.append(f"strengths chosen by cross-validation: {strengths or 'none: the teachers’ means alone'}")
    ranked = sorted(about["advantages"].items(), key=lambda pair: -pair[1])
    lines.append("mean advantage: " + ", ".join(f"{name} {value:+.2f}" for name, value in ranked))
    for one in about.get("joined", ()):
        never = ": never chosen until it has more scored prompts" if one["explore_only"] else ""
        lines.append(f"{one['teacher']} joined from {one['prompts']:,} prompts{never}")
    return lines
