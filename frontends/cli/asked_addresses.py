"""Asking the person at the terminal whether a panel's models may be sent images and keys, and its files be read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from consilience.core.settings.confirmed_addresses import AgentPlace
    from consilience.core.settings.settings import Settings


QUESTION = "May the models be sent images, and these keys, and may the files be read?"


def ask_about_addresses(panel: Path, settings: Settings) -> None:
    """Ask, on a terminal, about the addresses that a panel alone names; elsewhere whoever opens it says what to do.

    Raises:
        click.Abort: they are not wanted.
    """
    from consilience.core.settings.confirmed_addresses import confirm_addresses
    from consilience.frontends.cli.terminal import is_interactive
    from consilience.orchestrator.panel.model_addresses import unconfirmed_addresses

    if not is_interactive():
        return
    id, addresses = unconfirmed_addresses(panel, settings)
    if addresses:
        list_addresses(panel, addresses)
        click.confirm(f"{QUESTION} You are asked once.", abort=True, err=True)
        confirm_addresses(id, addresses.values())


def list_addresses(panel: Path, addresses: Mapping[str, AgentPlace]) -> None:
    """Print on stderr where the panel's agents are asked, or read, a line each."""
    from consilience.core.render.phrases import one_line

    click.echo(one_line(f"The panel '{panel}' names agents that stand in no settings of yours:", 1000), err=True)
    for name, address in addresses.items():
        click.echo(f"  {one_line(name)} {one_line(address.words(), 2000)}", err=True)
