"""What the command line makes of what a command raises."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner, Result

from consilience.core.errors import MissingExtraError, PanelError
from consilience.frontends.cli.main import CommandLine, main


def raised(error: BaseException, cause: BaseException | None = None) -> Result:
    """What becomes of a command that raises this."""

    @click.group(cls=CommandLine)
    @click.option("--debug", is_flag=True)
    def group(debug: bool) -> None: ...

    @group.command()
    def work() -> None:
        raise error from cause

    return CliRunner().invoke(group, ["work"])


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (KeyboardInterrupt(), None),
        # as compiled modules say it that are interrupted while they load
        (ImportError("initialization failed"), KeyboardInterrupt()),
        (PanelError("no panel"), KeyboardInterrupt()),
    ],
)
def test_ctrl_c_is_an_interruption_wherever_it_hits(error: BaseException, cause: BaseException | None) -> None:
    result = raised(error, cause)
    assert (result.exit_code, result.stderr) == (130, "interrupted: nothing was left half-written\n")


def test_ctrl_c_is_an_interruption_where_a_library_hides_it() -> None:
    error = SystemError("initialization raised unreported exception")
    error.__context__ = KeyboardInterrupt()
    assert raised(error, None).exit_code == 130
    failed = OSError("no space left")  # what went wrong while it was cleared up is what counts
    failed.__context__ = KeyboardInterrupt()
    assert raised(failed, None).exit_code == 1


@pytest.mark.parametrize("error", [PanelError("no panel"), OSError("no panel"), MissingExtraError("no panel")])
def test_an_error_is_one_line(error: Exception) -> None:
    result = raised(error, ImportError("gone"))
    assert (result.exit_code, result.stderr) == (1, "error: no panel\n")


def test_a_fault_of_our_own_is_not_hidden() -> None:
    assert isinstance(raised(ImportError("no module 'consilience.nothing'")).exception, ImportError)


def test_help_lists_every_command_below_a_heading_on_a_line_of_its_own() -> None:
    lines = CliRunner().invoke(main, ["--help"], terminal_width=80).output.splitlines()
    lines = lines[lines.index("Start:") :]
    headings = [line for line in lines if line and not line.startswith(" ") and line != "Exit codes:"]
    assert headings == ["Start:", "Look at images:", "Learn from people:", "Evaluate:", "Models:", "Panels:"]
    listed = [line.split()[0] for line in lines[: lines.index("  Exit codes:")] if line.startswith("  ")]
    assert sorted(listed) == sorted(main.commands)
    assert listed[:3] == ["demo", "fit", "diagnose"]
    assert not [line for line in lines if "..." in line]
