"""Figures of a run as JSON, and two such files side by side.

python -m consilience.evals.benchmarks.speed.benchmark_file OLD NEW

format        1
written_by    consilience and its version
cores, load   of the machine, at the start
quick         whether images and turns were fewer
figures       benchmark, what, values (one a turn), median, most, least (targets, or null), met (or null)
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from consilience.evals.benchmarks.speed.measure import Figure

FORMAT = 1

Key = tuple[str, str, int]
"""Benchmark, what, and how many lines of that name stand above it."""


def as_json(measured: Mapping[str, list[Figure]], cores: int, load: float, quick: bool) -> str:
    """Return the figures of each benchmark, by its name, as JSON."""
    lines = [
        {
            "benchmark": name,
            "what": figure.what.strip(),
            "values": list(figure.values),
            "median": figure.median,
            "most": figure.most,
            "least": figure.least,
            "met": figure.met,
        }
        for name, figures in measured.items()
        for figure in figures
    ]
    about = {"format": FORMAT, "written_by": f"consilience {version('consilience')}"}
    machine = {"cores": cores, "load": load, "quick": quick}
    return json.dumps({**about, **machine, "figures": lines}, indent=1, allow_nan=False) + "\n"


def read(path: Path) -> dict[Key, Figure]:
    """Return the figures in a file that `as_json` wrote.

    Raises:
        click.UsageError: it is none; says why.
    """
    seen: Counter[tuple[str, str]] = Counter()
    figures: dict[Key, Figure] = {}
    try:
        data: Any = json.loads(path.read_bytes())
        if data["format"] != FORMAT:
            raise ValueError(f"its format is {data['format']}, not {FORMAT}")
        for line in data["figures"]:
            name = str(line["benchmark"]), str(line["what"])
            values = tuple(map(float, line["values"]))
            if not values:
                raise ValueError(f"'{name[1]}' has no values")
            figures[*name, seen[name]] = Figure(name[1], values, line["most"], line["least"])
            seen[name] += 1
    except OSError as cause:
        raise click.UsageError(f"'{path}' cannot be read: {cause.strerror}") from cause
    except (KeyError, TypeError, ValueError) as cause:
        raise click.UsageError(f"'{path}' holds no figures of a benchmark ({cause}): write it with --json") from cause
    return figures


def side_by_side(old: Mapping[Key, Figure], new: Mapping[Key, Figure]) -> str:
    """Return medians and spreads of both runs, and new / old, as text; '*' where the two spreads do not touch."""
    keys = list(dict.fromkeys([*old, *new]))
    width = max((len(what) for _, what, _ in keys), default=0)
    lines, section = [f"{'':{width}} {'old':>27} {'new':>27} {'new / old':>10}"], ""
    for key in keys:
        if key[0] != section:
            section = key[0]
            lines.append(f"\n{section}")
        before, after = old.get(key), new.get(key)
        ratio = mark = ""
        if before is not None and after is not None:
            ratio = f"{after.median / before.median:.3f}" if before.median else "–"
            mark = " *" if _apart(before, after) else ""
        lines.append(f"{key[1]:{width}} {_shown(before):>27} {_shown(after):>27} {ratio:>10}{mark}".rstrip())
    return "\n".join([*lines, "", "median (least to most); * the spreads do not touch"])


def _apart(figure: Figure, other: Figure) -> bool:
    return max(figure.values) < min(other.values) or max(other.values) < min(figure.values)


def _shown(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    return f"{figure.median:,.3g} ({min(figure.values):,.3g} to {max(figure.values):,.3g})"


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
def main(old: Path, new: Path) -> None:
    """Show the figures of two runs (--json) side by side."""
    click.echo(side_by_side(read(old), read(new)))


if __name__ == "__main__":
    main()
