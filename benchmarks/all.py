"""Run every benchmark and write `docs/benchmarks.json` and the table in `docs/benchmarks.md`.

    python -m benchmarks.all                    everything, in full: about two and a half hours on two cores
    python -m benchmarks.all --quick            fewer rows and repeats: about a quarter of an hour
    python -m benchmarks.all --only kills poison     these; the other figures stay as they are
    python -m benchmarks.all --render           write the table again from the JSON, measure nothing

Each benchmark is a process of its own and prints one JSON line; that line is kept with its command, its date, the
commit and facts of the machine. No figure in the document is typed by hand.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from benchmarks.harness import ROOT, run_process
from benchmarks.measuring import machine, parser, say

RESULTS = ROOT / "docs/benchmarks.json"
DOCUMENT = ROOT / "docs/benchmarks.md"
README = ROOT / "README.md"
START, END = "<!-- table: written by benchmarks/all.py -->", "<!-- end of table -->"


@dataclass(frozen=True)
class Benchmark:
    """One script: its module below `benchmarks`, and its arguments when there is little time."""

    name: str
    module: str
    quick: Sequence[str]
    full: Sequence[str] = ()


BENCHMARKS = (
    Benchmark("mock_server", "mock_server", ["--capacity"], ["--capacity"]),
    Benchmark("orchestration_efficiency", "orchestration_efficiency", ["--rows", "6000", "--repeats", "3"]),
    Benchmark("occupancy", "occupancy", ["--rows", "4000", "--repeats", "1"]),
    Benchmark("stragglers", "stragglers", ["--rows", "2000", "--repeats", "1"]),
    Benchmark("starvation", "starvation", ["--repeats", "1", "--backends", "local"]),
    Benchmark("small_job", "small_job", ["--repeats", "3"]),
    Benchmark("rate_limit", "rate_limit", ["--rows", "4000", "--repeats", "1"]),
    Benchmark("poison", "poison", []),
    Benchmark("kills", "kills", ["--kills", "40", "--backends", "local"]),
    Benchmark("bit_flips", "bit_flips", ["--flips", "40"]),
    Benchmark("resume", "resume", ["--rows", "50000", "--repeats", "2"]),
    Benchmark("many_shards", "many_shards", ["--repeats", "1", "--backends", "local"]),
    Benchmark(
        "driver_memory",
        "driver_memory",
        ["--rows", "10000", "40000"],
        ["--rows", "100000", "1000000", "10000000"],
    ),
    Benchmark("vllm_throughput", "vllm_throughput", ["--rows", "200", "--repeats", "4"]),
    Benchmark("peers", "peers.compare", ["--rows", "2000", "--repeats", "1"]),
)

Result = Mapping[str, Any]


def number(value: float) -> str:
    """Return a figure with three digits or more."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}".rstrip("0").rstrip(".") if value else "0"


def spread_of(found: Mapping[str, float]) -> str:
    """Return a median with the least and the most of the repeats."""
    if found["n"] == 1:
        return f"{number(found['median'])} (once)"
    return f"{number(found['median'])} ({number(found['min'])}–{number(found['max'])}, n = {found['n']})"


def both(result: Result, read: Callable[[Result], str]) -> str:
    """Return a figure for each backend that was measured."""
    return "; ".join(f"{name} {read(result[name])}" for name in ("local", "ray") if name in result)


def efficiency(found: Result) -> str:
    steady = both(found, lambda r: spread_of(r["steady_ratio"]))
    whole = both(found, lambda r: spread_of(r["end_to_end_ratio"]))
    script = spread_of(found["jsonl_script"]["steady_ratio"])
    return f"steady: {steady}; whole process of {found['rows']:,} rows: {whole}; the JSONL script, steady: {script}"


def small(found: Result) -> str:
    def told(r: Result) -> str:
        report = f", its report there after {spread_of(r['report_s'])} s" if "report_s" in r else ""
        return f"{spread_of(r['after_start_s'])} s after the first call{report}, {spread_of(r['total_s'])} s in all"

    return f"{both(found, told)}; `--help` {spread_of(found['help_s'])} s"


def occupied(found: Result) -> str:
    return both(found, lambda r: f"{spread_of(r['occupancy'])}, after the ramp {spread_of(r['after_ramp'])}")


def straggled(found: Result) -> str:
    return both(
        found,
        lambda r: (
            f"{spread_of(r['over_bound'])} × the bound (batches: {number(r['barrier_over_bound']['median'])} ×)"
        ),
    )


def starved(found: Result) -> str:
    def told(r: Result) -> str:
        cases = []
        for case, measured in r.items():
            in_flight, share = case.split(":")
            over = spread_of(measured["over_clean"])
            cases.append(f"{float(share):.0%} failing at {in_flight} in flight {over} × the clean run")
        return ", ".join(cases)

    return both(found, told)


def waste(found: Result) -> str:
    def told(r: Result) -> str:
        old = f"{r['journaled_wasted']} of all {r['wasted']} long answered"
        return (
            f"{r['wasted_per_kill']} a kill with {found['in_flight']} in flight, {old}, {r['beyond_window']} beyond"
        )

    return both(found, told)


def exactness(found: Result) -> str:
    missed = sorted(set().union(*(found[b]["not_reached"] for b in ("local", "ray") if b in found)))
    points = f"; points not reached: {', '.join(missed)}" if missed else ""
    counts = " / ".join(str(found[name]) for name in ("duplicates", "missing", "unreadable"))
    return f"{counts} after {found['kills']} kills, {found['changed']} shards changed{points}"


def poisoned(found: Result) -> str:
    parts = []
    for kind in ("engine", "endpoint"):
        for backend, r in found.get(kind, {}).items():
            if backend == "skipped":
                parts.append(f"{kind}: not measured ({r})")
            else:
                lost = "run failed" if r["lost"] is None else f"{r['lost']} lost"
                parts.append(f"{kind}, {backend}: {lost}, {r['restarts']} restarts")
    return "; ".join(parts)


def resumed(found: Result) -> str:
    return (
        f"{found['rows']:,} rows in {found['shards']} shards: first call after {spread_of(found['first_call_s'])} s, "
        f"{spread_of(found['nothing_to_do_s'])} s where nothing is left"
    )


def flipped(found: Result) -> str:
    silent = ", ".join(kind for kind, each in found["by_kind"].items() if each["used_silently"])
    return f"{found['used_silently']} of {found['flips']}{f' ({silent})' if silent else ''}; {found['found']} found"


def per_shard(found: Result) -> str:
    def told(r: Result) -> str:
        return f"{spread_of(r['ms_per_shard'])} ms"

    ours = {name.removeprefix("this/"): r for name, r in found.items() if name.startswith("this/")}
    before = {name.removeprefix("other/"): r for name, r in found.items() if name.startswith("other/")}
    compared = f" (another commit, in turn: {both(before, told)})" if before else ""
    return f"{both(ours, told)}{compared}; {number(found['turn_ms'])} ms a turn of the scheduler"


def remembered(found: Result) -> str:
    peaks = ", ".join(f"{int(n):,} rows {number(r['peak_mb'])} MB" for n, r in found["by_rows"].items())
    return f"{found['backend']}: {peaks}; {number(found['bytes_per_row'])} bytes a row"


def limited(found: Result) -> str:
    return both(found, lambda r: f"{spread_of(r['goodput'])}, {100 * r['refused']['median']:.1f} % 429s")


def throughput(found: Result) -> str:
    rates = f"{spread_of(found['ours_tokens_per_s'])} and {spread_of(found['raw_tokens_per_s'])} tokens/s"
    return f"{spread_of(found['ratio'])} on {found['device']} with {found['model']} ({rates})"


@dataclass(frozen=True)
class Row:
    """One row of the table: what, the peers' state and the bar as they were set, and our figure."""

    what: str
    peers: str
    bar: str
    benchmark: str
    ours: Callable[[Result], str]


TABLE = (
    Row(
        "rows/s ÷ a raw asyncio client on the same mock server (50 ms, 256 in flight)",
        "Ray Data UDF 0.10–0.41, its HTTP stage ≤ 0.01",
        "≥ 0.80 local, ≥ 0.70 on Ray",
        "orchestration_efficiency",
        efficiency,
    ),
    Row(
        "500 rows at 200 ms latency",
        "datatrove 2.9 s, Data Designer 6.9, Curator 8.4, sdg_hub 11.0, distilabel 12.4",
        "≤ 1.5 s after start",
        "small_job",
        small,
    ),
    Row(
        "in-flight ÷ cap, long-tailed latency with 1 % stragglers",
        "batch barriers",
        "≥ 0.95",
        "occupancy",
        occupied,
    ),
    Row("makespan ÷ the bound of any schedule, 1 % stragglers", "batch barriers", "", "stragglers", straggled),
    Row(
        "time until the last healthy row, beside rows that fail at every try",
        "",
        "≤ 1.2 × a run without them",
        "starvation",
        starved,
    ),
    Row(
        "calls wasted by SIGKILLs",
        "Ray checkpoint: every unsealed block, and all rejected rows each time",
        "in-flight window only; 0 for journaled answers",
        "kills",
        waste,
    ),
    Row(
        "duplicate / missing / unreadable rows after seeded kills",
        "Ray without checkpoint 500 duplicates in 4,000",
        "0 / 0 / 0 and byte-identical shards, 200 kills",
        "kills",
        exactness,
    ),
    Row(
        "other rows lost when one prompt crashes the engine",
        "Ray Data: endless restarts",
        "0, and ≤ 3 + log₂(batch) restarts",
        "poison",
        poisoned,
    ),
    Row("resume with 1 M rows done", "reads all ids and all input", "< 5 s", "resume", resumed),
    Row("bits turned in any file of a run, used without a word", "", "0", "bit_flips", flipped),
    Row("what a shard costs beyond its rows, over six steps", "", "", "many_shards", per_shard),
    Row("driver memory as rows grow", "grows", "flat", "driver_memory", remembered),
    Row(
        "accepted requests ÷ server's true limit under 429 with changing limits",
        "Ray Data: the job dies",
        "≥ 0.95, ≤ 2 % 429s",
        "rate_limit",
        limited,
    ),
    Row("tokens/s ÷ raw AsyncLLM", "Ray Data LLM 0.90–0.93, Serve 0.88", "≥ 0.97", "vllm_throughput", throughput),
)


def _killed(r: Result) -> str:
    return f"{r['duplicates']} / {r['missing']} / {r['unreadable']} after {r['kills']} kills"


def _median(key: str, unit: str = "") -> Callable[[Result], str]:
    return lambda r: both(r, lambda one: number(one[key]["median"]) + unit)


SHORT: tuple[tuple[str, str, Callable[[Result], str]], ...] = (
    ("rows duplicated / lost / unreadable after kills at random moments", "kills", _killed),
    ("other rows lost when one prompt crashes the engine", "poison", lambda r: str(r["engine"]["ray"]["lost"])),
    ("engine kept busy: in flight ÷ cap, with 1 % stragglers", "occupancy", _median("occupancy")),
    (
        "rows/s relative to a bare asyncio client that stores nothing",
        "orchestration_efficiency",
        _median("steady_ratio"),
    ),
    ("tokens/s relative to bare vLLM (CPU build)", "vllm_throughput", lambda r: number(r["ratio"]["median"])),
)
"""What the README shows: what, benchmark, figure."""


def render_short(results: Sequence[Result]) -> str:
    """Return the README's few figures."""
    by_name = {result["benchmark"]: result for result in results}
    lines = ["| measured on two cores | |", "|---|---|"]
    return "\n".join(lines + [f"| {what} | {read(by_name[name])} |" for what, name, read in SHORT if name in by_name])


def render(results: Sequence[Result]) -> str:
    """Return the table of our figures, the peers beside us, and the commands."""
    by_name = {result["benchmark"]: result for result in results}
    lines = ["| what | peers | bar | measured here |", "|---|---|---|---|"]
    for row in TABLE:
        found = by_name.get(row.benchmark)
        ours = row.ours(found) if found else "not measured yet"
        lines.append(f"| {row.what} | {row.peers} | {row.bar} | {ours} |")
    if peers := by_name.get("peers"):
        lines += ["", *render_peers(peers)]
    lines += ["", "Commands, in the order of measuring:", "", "```console not run: takes hours"]
    lines += [f"$ {result['command']}" for result in results]
    lines += ["```", "", *facts(results)]
    return "\n".join(lines)


def render_peers(found: Result) -> list[str]:
    """Return the table of all peers on the same server."""
    head = f"Side by side, {found['rows']:,} rows at 50 ms, and {found['small_rows']:,} rows at 200 ms:"
    lines = [
        head,
        "",
        "| who | steady ÷ raw | whole process ÷ raw | small job, after its first call | small job, in all |",
    ]
    lines.append("|---|---|---|---|---|")
    for who, r in found.items():
        if isinstance(r, dict) and "steady_ratio" in r:
            job = r["small"]
            cells = [r["steady_ratio"], r["whole_ratio"], job["after_start_s"], job["total_s"]]
            texts = [spread_of(cell) + (" s" if n > 1 else "") for n, cell in enumerate(cells)]
            lines.append(f"| {who} | " + " | ".join(texts) + " |")
    return lines


def facts(results: Sequence[Result]) -> list[str]:
    """Return where and when the figures were taken."""
    told = results[-1]["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in told["packages"].items())
    commits = ", ".join(sorted({str(r["commit"]) for r in results}))
    return [
        f"{told['cores']} cores ({told['cpu']}), {told['memory_gb']} GB, {told['system']}, Python {told['python']}; "
        f"{packages}. Commits {commits}; {min(r['date'] for r in results)} to {max(r['date'] for r in results)}. "
        "In brackets: least and most of n repeats."
    ]


def commit() -> str:
    """Return the commit that is checked out, with a plus where files differ from it."""
    found = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def load() -> list[dict[str, Any]]:
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []


def measure(benchmark: Benchmark, is_quick: bool) -> dict[str, Any] | None:
    """Run one benchmark; return its line with the facts it depends on, or None where it failed."""
    arguments = list(benchmark.quick if is_quick else benchmark.full)
    command = ["python", "-m", f"benchmarks.{benchmark.module}", *arguments]
    say(f"== {' '.join(command)}")
    done = run_process([sys.executable, *command[1:]], expect=None)
    if done.code or not done.stdout.strip():
        say(f"{benchmark.name} failed with {done.code}:\n{done.stderr[-1500:]}")
        return None
    line = done.stdout.strip().splitlines()[-1]
    say(line)
    date = datetime.now(UTC).date().isoformat()
    about = {"command": " ".join(command), "is_quick": is_quick, "date": date, "commit": commit()}
    return json.loads(line) | about | {"machine": machine()}


def write(results: Sequence[Result]) -> None:
    """Write the JSON and put the table into the document."""
    RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for document, table in ((DOCUMENT, render(results)), (README, render_short(results))):
        before, rest = document.read_text(encoding="utf-8").split(START)
        after = rest.split(END)[1]
        document.write_text(f"{before}{START}\n\n{table}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    parse = parser(__doc__)
    parse.add_argument("--quick", action="store_true")
    parse.add_argument("--only", nargs="+", choices=[b.name for b in BENCHMARKS])
    parse.add_argument("--render", action="store_true", help="measure nothing")
    options = parse.parse_args()
    found = {result["benchmark"]: result for result in load()}
    failed = []
    for benchmark in BENCHMARKS:
        if options.render or (options.only and benchmark.name not in options.only):
            continue
        result = measure(benchmark, options.quick)
        if result is None:
            failed.append(benchmark.name)
        else:
            found[benchmark.name] = result
            write([found[b.name] for b in BENCHMARKS if b.name in found])
    write([found[b.name] for b in BENCHMARKS if b.name in found])
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
