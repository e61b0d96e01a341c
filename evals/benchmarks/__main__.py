"""python -m consilience.evals.benchmarks: what Consilience takes, beside what it may take."""

from __future__ import annotations

import os
from importlib import import_module

import click

from consilience.evals.benchmarks.measure import table_of
from consilience.retrieval.embedding import usable_cores

BENCHMARKS = ("encoder", "orchestration", "requests", "startup", "memory", "evaluate", "web")


@click.command()
@click.option("--only", "chosen", multiple=True, type=click.Choice(BENCHMARKS), help="Run this one; repeatable.")
@click.option("--quick", is_flag=True, help="Fewer images and turns: rougher figures.")
def main(chosen: tuple[str, ...], quick: bool) -> None:
    """Measure every part, or those that --only names; print median and spread, target, PASS or MISS."""
    click.echo(f"{usable_cores()} cores, load {os.getloadavg()[0]:.1f} at the start" + (", quick" if quick else ""))
    for name in chosen or BENCHMARKS:
        module = import_module(f"consilience.evals.benchmarks.{name}")
        click.echo(f"\n{name}: {(module.__doc__ or '').splitlines()[0]}\n")
        click.echo(table_of(module.figures(quick)))


if __name__ == "__main__":
    main()
