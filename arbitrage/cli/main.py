"""The commands of `arbitrage`; errors become one sentence and an exit code here."""

import sys
import warnings

import typer

from arbitrage.cli.export import export, report
from arbitrage.cli.interrupt import SENTENCE, Interrupted, interrupted_at_once
from arbitrage.cli.judge import judge
from arbitrage.cli.online import online
from arbitrage.cli.plan import plan
from arbitrage.cli.profile import profile
from arbitrage.cli.router.evaluate import router
from arbitrage.cli.router.extend import add_teacher, pick_prompts
from arbitrage.cli.router.log import judge_by_log, write_outcomes
from arbitrage.cli.router.study import judge_routers, new_models, trace_router
from arbitrage.cli.router.train import show_router, train_router
from arbitrage.cli.run import quickstart, run
from arbitrage.cli.schema import schema
from arbitrage.cli.screen import prepare_streams, say
from arbitrage.cli.session import prepare_process
from arbitrage.cli.show import show
from arbitrage.cli.status import status
from arbitrage.cli.teachers import teachers
from arbitrage.cli.train import train
from arbitrage.cli.train_monitor import monitor
from arbitrage.cli.verify import verify
from arbitrage.errors import ArbitrageError, InterruptedRunError, UserError

EPILOG = "Start with `arbitrage quickstart`: the whole pipeline on models that ship with it, offline, on two cores."

app = typer.Typer(
    name="arbitrage",
    help=(
        "Make multilingual training data from a pool of teacher models: route each prompt, generate, score, "
        "select, export.\n\nExit codes: 0 done; 2 the config or command line is wrong; 3 the data is, or too many "
        "rows were rejected; 4 a teacher or the cluster failed."
    ),
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (quickstart, run, plan, status, verify, show, report, export, profile, judge, online, schema):
    app.command()(command)
router.command("train")(train_router)
router.command("show")(show_router)
router.command("judges")(judge_routers)
router.command("samples")(trace_router)
router.command("new-models")(new_models)
router.command("probe-prompts")(pick_prompts)
router.command("add-teacher")(add_teacher)
router.command("log")(write_outcomes)
router.command("off-policy")(judge_by_log)
train.command("monitor")(monitor)
app.add_typer(router, name="router")
app.add_typer(teachers, name="teachers")
app.add_typer(train, name="train")


def main() -> None:
    """Run the command line. User errors print one sentence; bugs print a traceback."""
    prepare_streams()
    prepare_process()
    if not sys.warnoptions:  # libraries warn their developers; -W and PYTHONWARNINGS still show them
        warnings.simplefilter("ignore")
    try:
        with interrupted_at_once():
            app()
    except ArbitrageError as error:
        if type(error).exit_code == ArbitrageError.exit_code:
            raise
        say(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Interrupted:
        say(f"error: {SENTENCE}", file=sys.stderr)
        sys.exit(InterruptedRunError.exit_code)
    except OSError as error:
        if error.filename is None:
            raise
        say(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(UserError.exit_code)


if __name__ == "__main__":
    main()
