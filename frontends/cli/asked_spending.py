"""Saying what the answers of models will take, and asking the person at the terminal if that is much."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from consilience.agents.vlm.spending_estimate import SpendingEstimate
    from consilience.core.settings.settings import PolicySettings
    from consilience.frontends.cli.terminal import Report


def ask_about_spending(policy: PolicySettings, progress: Report, estimate: SpendingEstimate) -> None:
    """Say what the answers of models will take; on a terminal, ask whether they are wanted, if that is much.

    Raises:
        click.Abort: they are not.
    """
    from consilience.core.render.phrases import one_line
    from consilience.frontends.cli.terminal import is_interactive

    with progress.paused():
        click.echo(one_line(estimate.words(policy.max_run_cost_usd), 1000), err=True)
        is_too_much = policy.max_run_cost_usd is not None and estimate.usd > policy.max_run_cost_usd
        if (is_too_much or estimate.is_above(policy.confirm_above_usd)) and is_interactive():
            click.confirm("Ask the models?", abort=True, err=True)
