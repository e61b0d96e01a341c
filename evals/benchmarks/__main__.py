"""python -m consilience.evals.benchmarks: time and memory that each part takes, beside their targets."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import click

from consilience.evals.benchmarks.speed.benchmark_file import as_json
from consilience.evals.benchmarks.speed.measure import Figure, table_of
from consilience.retrieval.encoders.batch_embedding import usable_cores

BENCHMARKS = {
    "encoder": "encoder_rate",
    "retrieval": "retrieval",
    "orchestration": "orchestration",
    "requests": "model_requests",
    "startup": "startup",
    "memory": "memory_use",
    "evaluate": "evaluation_cost",
    "web": "web_api",
    "attack": "under_attack",
    "groups": "finding_groups",
    "fit": "fit_by_size",
}
"""By name, the module in `speed/` that holds its `figures`."""


@click.command()
@click.option("--only", "chosen", multiple=True, type=click.Choice(list(BENCHMARKS)), help="Run this one; repeatable.")
@click.option("--quick", is_flag=True, help="Fewer images and turns: rougher figures.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here, too.")
def main(chosen: tuple[str, ...], quick: bool, file: Path | None) -> None:
    """Measure every part, or those that --only names; print median and spread, target, PASS or MISS."""
    load = os.getloadavg()[0]
    click.echo(f"{usable_cores()} cores, load {load:.1f} at the start" + (", quick" if quick else ""))
    measured: dict[str, list[Figure]] = {}
    for name in chosen or BENCHMARKS:
        module = import_module(f"consilience.evals.benchmarks.speed.{BENCHMARKS[name]}")
        click.echo(f"\n{name}: {(module.__doc__ or '').splitlines()[0]}\n")
        measured[name] = module.figures(quick)
        click.echo(table_of(measured[name]))
        if file is not None:  # after each: a run that is broken off leaves what it measured
            file.write_text(as_json(measured, usable_cores(), load, quick), encoding="utf-8")


if __name__ == "__main__":
    main()
