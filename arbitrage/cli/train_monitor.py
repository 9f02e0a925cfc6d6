"""`arbitrage train monitor`: check models and checkpoints for over-optimisation."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arbitrage.cli.options import JsonOption, SetOption
from arbitrage.cli.screen import Screen, say
from arbitrage.cli.train import find_source

if TYPE_CHECKING:
    from arbitrage.report.rendering import Figures
    from arbitrage.training.monitor.curves import Check
    from arbitrage.training.monitor.offline import MonitoredModel


def monitor(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL…", help="What `arbitrage train` wrote, checkpoints, or models in the order of training."
        ),
    ],
    probe: Annotated[
        list[str], typer.Option("--probe", metavar="DATA", help="Preference rows: runs, exports, files. Repeatable.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Output directory (default: `monitor/` in the first MODEL)."),
    ] = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure six curves on a probe set, and raise an alarm where they show over-optimisation.

    The curves: mean log-likelihood of chosen and rejected responses, their margin, entropy and probability of the ten
    likeliest tokens, and the share of sampled responses in another language; by language. See docs/training.md.

    Example: `arbitrage train monitor students/one --probe quickstart --set per_language=50`
    """
    from arbitrage.config import override, parse
    from arbitrage.errors import UserError
    from arbitrage.training.monitor.offline import monitor_models
    from arbitrage.training.monitor.settings import MonitorConfig

    raw = override({"probe": [find_source(item) for item in probe]}, assignments or [])
    config = parse(raw, MonitorConfig, "train monitor")
    if out is None and not Path(models[0]).is_dir():
        raise UserError(f"{models[0]}: is no directory here; name one by --out")
    target = out or Path(models[0]) / "monitor"  # beside what the training itself has measured, not over it
    console = Screen(stderr=True)
    watched = monitor_models(models, config, target, lambda sentence: console.print(sentence, style="dim"))
    if as_json:
        print(
            json.dumps({"checks": [asdict(c) for c in watched.checks], "alarms": [asdict(a) for a in watched.alarms]})
        )
    else:
        _tell(watched, target)


def _tell(watched: "MonitoredModel", target: Path) -> None:
    from arbitrage.report.rendering import terminal_table
    from arbitrage.training.monitor.curves import CURVES_FILE, OVERALL
    from arbitrage.training.monitor.picture import PICTURE_FILE

    Screen().print(terminal_table(check_figures([check for check in watched.checks if check.language == OVERALL])))
    for alarm in watched.alarms:
        say(f"alarm: {alarm.sentence}")
    if not watched.alarms:
        say("no alarm")
    say(f"by language: {target / CURVES_FILE}, {target / PICTURE_FILE}")


def check_figures(checks: "list[Check]") -> "Figures":
    """Return the curves as a table, a line for each check."""
    from arbitrage.report.formatting import NUMBER, SHARE, NumberForm
    from arbitrage.report.rendering import Column, Figures, Row, ungrouped

    return Figures(
        title="All languages",
        corner="step",
        columns=(
            *(Column(name, NUMBER) for name in ("chosen", "rejected", "margin")),
            Column("entropy", NumberForm(digits=3)),
            Column("mass", NumberForm(digits=4)),
            Column("confusion", SHARE),
        ),
        groups=ungrouped(
            [Row(f"{c.step:,}", (c.chosen, c.rejected, c.margin, c.entropy, c.mass, c.confusion)) for c in checks]
        ),
    )
