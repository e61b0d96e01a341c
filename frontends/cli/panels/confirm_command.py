"""`consilience confirm`: let a panel from elsewhere ask its models and read its tables of answers."""

from __future__ import annotations

from pathlib import Path

import click

from consilience.frontends.cli.asked_addresses import QUESTION, list_addresses
from consilience.frontends.cli.options import collected, panel_argument, settings_options
from consilience.frontends.cli.outcome import Failure


@click.command()
@panel_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@settings_options
def confirm(panel: Path, yes: bool, settings_file: Path | None, assignments: tuple[str, ...]) -> None:
    """Let a panel from elsewhere ask its models and read its tables.

    A panel names the addresses of its models, the variables that hold their keys, and files of answers. One that you
    did not fit here, and whose agents stand in no settings of yours, is not believed until you have seen and confirmed
    them, once.
    """
    from consilience.core.settings.confirmed_addresses import confirm_addresses
    from consilience.core.storage.user_folders import config_folder
    from consilience.frontends.cli.terminal import is_interactive
    from consilience.orchestrator.panel.model_addresses import unconfirmed_addresses

    id, addresses = unconfirmed_addresses(panel, collected(settings_file, assignments))
    if not addresses:
        click.echo("Nothing is to be confirmed.")
        return
    list_addresses(panel, addresses)
    if not yes:
        if not is_interactive():
            raise Failure("nobody can be asked here: if they are right, run the same command with --yes")
        click.confirm(QUESTION, abort=True, err=True)
    confirm_addresses(id, addresses.values())
    click.echo(f"Confirmed, and noted in '{config_folder()}'.")
