"""Writes the tables and the picture of docs/routing.md from docs/routing.json."""

import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from arbitrage.report.charts import axis_over
from benchmarks.documents import between

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs/routing.json"
DOCUMENT = ROOT / "docs/routing.md"
PICTURE = ROOT / "docs/routing.svg"
Found = Mapping[str, Any]
MOST_ASKED = 3
"""Answers per prompt up to which the table goes."""
LANGUAGE_AWARE = (
    "per_language",
    "per_language_task",
    "knn_10",
    "knn_40",
    "knn_100",
    "clusters",
    "ridge",
    "mlp",
    "factorisation",
    "error_vectors",
)


def render(results: Found) -> None:
    """Write each part that has been measured between its marks."""
    text = DOCUMENT.read_text(encoding="utf-8")
    parts = {"pools": _pools, "drawn": _drawn, "judges": _judges, "new_models": _new_models, "samples": _samples}
    parts |= {"cost": _cost, "speed": _speed}
    for name, table in parts.items():
        if name in results:
            text = between(text, name, "benchmarks/routing.py", table(results[name]))
    DOCUMENT.write_text(text, encoding="utf-8")
    if "pools" in results:
        PICTURE.write_text(_picture(results["pools"]), encoding="utf-8")


def _pools(found: Found) -> str:
    lines = [
        "| pool | prompts × models | best single / oracle | best blind | best language-aware | `learned` | `auto` "
        "| `auto` − best language-aware |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for pool, one in found.items():
        routers = one["routers"]
        blind = _best(routers, [name for name in routers if name.endswith("_blind")])
        aware = _best(routers, [name for name in LANGUAGE_AWARE if name in routers])
        difference = one["comparison"]["difference"]
        single, oracle = routers["best_single"]["mean_reward"], routers["oracle"]["mean_reward"]
        lines.append(
            f"| {pool} | {one['prompts']:,} × {one['models']} | {single:.3f} / {oracle:.3f} "
            f"| {_gap(routers, blind)} ({blind}) | {_gap(routers, aware)} ({aware}) | {_gap(routers, 'learned')} "
            f"| **{_gap(routers, 'auto')}** | {_signed(difference)} |"
        )
    return "\n".join(lines) + "\n"


def _drawn(found: Mapping[str, Sequence[Found]]) -> str:
    lines = [
        "| drawn from | pools | models; languages; prompts | gap closed, mean: per language, 40 neighbours, `auto` "
        "| `auto` above, below best single | above, below per language | above, below neighbours |",
        "|---|---|---|---|---|---|---|",
    ]
    for matrix, pools in found.items():
        counts = (
            [len(p["models"]) for p in pools],
            [len(p["languages"]) for p in pools],
            [p["prompts"] for p in pools],
        )
        sizes = "; ".join(f"{min(count):,} to {max(count):,}" for count in counts)
        names = ("per_language", "knn_40", "auto")
        gaps = ", ".join(f"{statistics.fmean(p['gap_closed'].get(n, 0.0) for p in pools):.1%}" for n in names)
        signs = " | ".join(_surely(pools, name) for name in ("best_single", "per_language", "knn_40"))
        lines.append(f"| {matrix} | {len(pools)} | {sizes} | {gaps} | {signs} |")
    return "\n".join(lines) + "\n"


def _surely(pools: Sequence[Found], name: str) -> str:
    """Return in how many pools the interval of the difference is above zero, and below."""
    intervals = [interval for pool in pools if (interval := pool["auto_above"][name]["interval"])]
    return f"{sum(i['low'] > 0 for i in intervals)}, {sum(i['high'] < 0 for i in intervals)}"


def _judges(found: Found) -> str:
    lines = [
        "| pool | held-out judge | naive | consensus | `auto` | oracle of the others |",
        "|---|---|---|---|---|---|",
    ]
    for pool, judges in found.items():
        for judge, one in judges.items():
            cells = " | ".join(_signed(one[name]) for name in ("naive", "consensus", "auto", "oracle"))
            lines.append(f"| {pool} | {judge} | {cells} |")
    return "\n".join(lines) + "\n"


def _new_models(found: Found) -> str:
    sizes = sorted(next(iter(found.values()))["kept"], key=int)
    return _helpful(found, sizes) + "\n" + _all_new_models(found, sizes)


def _helpful(found: Found, sizes: Sequence[str]) -> str:
    heads = " | ".join(f"{size} prompts" for size in sizes)
    lines = [f"| pool | bring something | gain by one of these | {heads} | gain by one of the others, 128 |"]
    lines.append("|---" * (len(sizes) + 4) + "|")
    for pool, one in found.items():
        names, full = one["helpful"], one["full_by_teacher"]
        gain = statistics.fmean(full[name]["value"] for name in names) if names else 0.0
        cells = " | ".join(_share(one["kept_of_helpful"][size], with_interval=size == "128") for size in sizes)
        others = f"{_at(one['gain_of_others'], 128):+.4f}"
        lines.append(f"| {pool} | {len(names)} of {len(full)} | {gain:+.4f} | {cells} | {others} |")
    for name, pools in _groups(found):
        helped = [one["kept_of_helpful"] for one in pools if one["helpful"]]
        means = " | ".join(f"{statistics.fmean(kept[size]['value'] for kept in helped):.0%}" for size in sizes)
        lines.append(f"| mean of {name} | | | {means} | |")
    return "\n".join(lines) + "\n"


def _all_new_models(found: Found, sizes: Sequence[str]) -> str:
    heads = " | ".join(f"{size} prompts" for size in sizes)
    lines = [f"| pool | gain by any new model | {heads} | plain means, 128 | routing's gain kept: none, 128 |"]
    lines.append("|---" * (len(sizes) + 4) + "|")
    for pool, one in found.items():
        kept = " | ".join(f"{_at(one['kept'], size):.0%}{_range(one, size)}" for size in sizes)
        routing = f"{_at(one['routing_kept'], 0):.0%}, {_at(one['routing_kept'], 128):.0%}"
        means = f"{_at(one['kept_by_means'], 128):.0%}"
        lines.append(f"| {pool} | {one['full_gain']:+.4f} | {kept} | {means} | {routing} |")
    for name, pools in _groups(found):
        gain = statistics.fmean(one["full_gain"] for one in pools)
        plain = " | ".join(f"{statistics.fmean(_at(one['kept'], size) for one in pools):.0%}" for size in sizes)
        had = (statistics.fmean(_at(one["kept"], size) * one["full_gain"] for one in pools) / gain for size in sizes)
        routed = (statistics.fmean(_at(one["routing_kept"], size) for one in pools) for size in (0, 128))
        lines.append(f"| mean of {name} | | {plain} | | {', '.join(f'{share:.0%}' for share in routed)} |")
        lines.append(f"| {name}, by gain | {gain:+.4f} | {' | '.join(f'{share:.0%}' for share in had)} | | |")
    return "\n".join(lines) + "\n"


def _groups(found: Found) -> list[tuple[str, list[Found]]]:
    """Return the pools of either matrix that were measured, and all."""
    groups = [
        (f"{prefix}_*" if prefix else "all", [one for pool, one in found.items() if pool.startswith(prefix)])
        for prefix in ("wmt25", "policy", "")
    ]
    return [(name, pools) for name, pools in groups if pools]


def _share(found: Found | None, with_interval: bool) -> str:
    if found is None:
        return "–"
    interval = found["interval"] if with_interval else None
    return f"{found['value']:.0%}" + (f" ({interval['low']:.0%} to {interval['high']:.0%})" if interval else "")


def _range(one: Found, size: str) -> str:
    """Return the least and the most of the deals, for the size that counts."""
    shares = one.get("kept_by_deal", {}).get(size, ())
    return f" ({min(shares):.0%} to {max(shares):.0%})" if size == "128" and len(shares) > 1 else ""


def _at(by_size: Found, size: str | int) -> float:
    """Return the figure of a size; keys are text in JSON."""
    return float(by_size[str(size)])


def _samples(found: Found) -> str:
    lines = ["| pool | prompts, all scored → gap closed | 90 % of it from |", "|---|---|---|"]
    for pool, one in found.items():
        curve = ", ".join(f"{p['num_prompts']:,}: {p['gap_closed']:.1%}" for p in one["points"])
        enough = f"{one['enough']:,}" if one["enough"] else "all"
        lines.append(f"| {pool} | {curve} | {enough} |")
    return "\n".join(lines) + "\n"


def _cost(found: Found) -> str:
    lines = [
        "| pool | best single | of equal quality | most quality | area (mixing single teachers) "
        "| best of several answers |",
        "|---|---|---|---|---|---|",
    ]
    for pool, one in found.items():
        best = max(one["singles"].values(), key=lambda single: single["mean_reward"])
        points = one["frontier"]["points"]
        equal = next((p for p in points if p["mean_reward"] >= best["mean_reward"]), None)
        area = f"{one['frontier']['area']:.0%} ({one['frontier']['area_of_singles']:.0%})"
        several = ", ".join(
            f"{g['per_prompt']:.2f}: {g['mean_reward']:.3f}"
            for g in one["generations"]
            if g["per_prompt"] <= MOST_ASKED
        )
        cells = (pool, _point(best), _point(equal), _point(points[-1]), area, several)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _point(found: Found | None) -> str:
    return "–" if found is None else f"{found['mean_reward']:.3f} at {found['cost']:.2f} s"


def _speed(found: Found) -> str:
    return "".join(f"- {name}: {_speed_of(one)}\n" for name, one in found.items())


def _speed_of(one: Found) -> str:
    rates = ", ".join(
        f"`{name}` {rate['median']:,.0f} ({rate['low']:,.0f}–{rate['high']:,.0f}, n = {rate['n']})"
        for name, rate in one["prompts_per_s"].items()
    )
    return (
        f"{one['prompts']:,} prompts × {one['teachers']} teachers, {one['mean_characters']:.0f} characters a prompt; "
        f"{'' if one['has_text_residual'] else 'no text residual was chosen, so `learned` reads no n-grams; '}"
        f"trained in {one['train_s']:.0f} s; features and prediction, prompts/s on two threads: {rates}; peak memory "
        f"of the process that read the matrix, trained and predicted {one['peak_mb']:,.0f} MB."
    )


def _best(routers: Found, names: Sequence[str]) -> str:
    return max(names, key=lambda name: routers[name]["mean_reward"])


def _gap(routers: Found, name: str) -> str:
    one = routers[name]
    if one["gap_closed"] is None:
        return "–"
    bounds = f" [{one['ci'][0] * 100:.1f}, {one['ci'][1] * 100:.1f}]" if one["ci"] else ""
    return f"{one['gap_closed'] * 100:.1f} %{bounds}"


def _signed(estimate: Found | None) -> str:
    if estimate is None:
        return "–"
    interval = estimate["interval"]
    bounds = f" [{interval['low']:+.4f}, {interval['high']:+.4f}]" if interval else ""
    return f"{estimate['value']:+.4f}{bounds}"


def _picture(pools: Found) -> str:
    """Draw the gap closed by each router in each pool: a dot and its interval."""
    names = ("per_language", "knn_40", "ridge", "learned", "blend", "auto")
    ends = [
        end
        for one in pools.values()
        for name in names
        if one["routers"][name]["ci"]
        for end in one["routers"][name]["ci"]
    ]
    axis = axis_over([100 * end for end in ends], num_ticks=6)
    left, width, row, top = 190, 560, 20, 30
    lines, y = [], top
    for pool, one in pools.items():
        lines.append(f'<text x="8" y="{y + 14}" class="pool">{escape(pool)}</text>')
        for name in names:
            y += row
            figures = one["routers"][name]
            at = left + axis.place(100 * figures["gap_closed"]) * width / 100
            low, high = (left + axis.place(100 * end) * width / 100 for end in figures["ci"])
            kind = "auto" if name == "auto" else "other"
            lines.append(f'<text x="{left - 10}" y="{y + 14}" class="name">{name}</text>')
            lines.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + 10}" y2="{y + 10}" class="{kind}"/>')
            lines.append(f'<circle cx="{at:.1f}" cy="{y + 10}" r="4" class="{kind}"/>')
        y += row + 8
    ticks: list[str] = []
    for tick in axis.ticks:
        x, kind = left + axis.place(tick) * width / 100, "tick" if tick else "zero"
        ticks.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{y}" class="{kind}"/>')
        ticks.append(f'<text x="{x:.1f}" y="{y + 16}" class="label">{tick:g} %</text>')
    style = (
        "text{font:12px sans-serif;fill:#222}.pool{font-weight:bold}.name{text-anchor:end}.label{text-anchor:middle}"
        ".tick{stroke:#ddd}.zero{stroke:#888}line.other{stroke:#7a8794;stroke-width:2}circle.other{fill:#7a8794}"
        "line.auto{stroke:#0b6e4f;stroke-width:3}circle.auto{fill:#0b6e4f}"
    )
    title = "Share of the gap between best single teacher and oracle that each router closes, with 95 % intervals"
    size = f'width="{left + width + 30}" height="{y + 30}"'
    body = "".join([*ticks, *lines])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img"><title>{title}</title><style>{style}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/><text x="8" y="18">{title}</text>{body}</svg>\n'
    )
