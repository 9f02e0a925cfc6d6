"""`arbitrage status`: how far a run is, read from its directory alone, also while it runs elsewhere."""

import json

from rich.console import Console
from rich.table import Table

from arbitrage.cli.naming import title
from arbitrage.cli.options import JsonOption, RunArgument, find_run


def status(run: RunArgument, as_json: JsonOption = False) -> None:
    """Show how many shards of each step are complete, what was rejected, and, of a run at work, what is under way."""
    from arbitrage.cli.progress import live_sentence
    from arbitrage.execution.run import progress_of
    from arbitrage.shards.live import read_live
    from arbitrage.shards.run import open_run

    found = open_run(find_run(run))
    done = progress_of(found)
    is_finished = found.is_finished and all(have == want for have, want in done.values())
    live = None if is_finished else read_live(found.path)
    under_way = live.steps if live else {}
    reports = {s.name: s for s in found.manifest.steps} if found.is_finished else {}
    if as_json:
        steps = [{"name": n, "shards_done": have, "shards": want} for n, (have, want) in done.items()]
        for step in steps:
            report = reports.get(str(step["name"]))
            step |= {"rows": report.num_rows, "rejected": report.rejected} if report else {}
            now = under_way.get(str(step["name"]))
            step |= {"live": now.model_dump()} if now else {}
        over = found.manifest.over_budget if found.is_finished else ()
        head = {"run": str(found.path), "finished": is_finished, "at_work": live is not None, "over_budget": over}
        print(json.dumps(head | {"steps": steps}))
        return
    state = "at work" if live else _state(is_finished)
    last = "under way" if live else "worker seconds"
    table = Table("step", "shards", "rows", "rejected", last, title=f"{found.plan.name} · {state}")
    for name, (have, want) in done.items():
        report = reports.get(name)
        rejected = ", ".join(f"{reason} {n}" for reason, n in report.rejected.items()) if report else ""
        rows, seconds = (f"{report.num_rows:,}", f"{report.seconds:.1f}") if report else ("", "")
        seconds = live_sentence(under_way[name]) if name in under_way else seconds
        table.add_row(
            title(name), f"{have}/{want}", rows, rejected, seconds, style=None if have == want else "yellow"
        )
    Console().print(table)
    for problem in found.manifest.over_budget if found.is_finished else ():
        Console().print(problem, style="red", highlight=False)


def _state(is_finished: bool) -> str:
    return "finished" if is_finished else "unfinished; run the same command again to go on"
