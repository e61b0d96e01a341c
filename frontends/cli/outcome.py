"""How a command ends: its exit code, and one clear line where something is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from consilience.core.diagnosis import FailedImage

SOME_FAILED = 3
UNANSWERED = 4
INTERRUPTED = 130

EXIT_CODES = """\b
Exit codes:
  0    done
  1    an error, or no image could be used
  2    wrong usage
  3    done, but some images could not be used; each is named
  4    done, but an agent did not answer about some images; it is named, with the cause
  130  interrupted (Ctrl-C); what was there before is unchanged
"""


class Failure(click.ClickException):
    """Ends the command with exit code 1."""

    exit_code = 1

    def show(self, file: object = None) -> None:
        complain("error", self.message)


def complain(kind: str, message: str) -> None:
    """Print one line on stderr, "error: ...", which is safe to show whatever the message quotes."""
    from consilience.core.render.phrases import one_line

    click.echo(f"{kind}: {one_line(message, 2000)}", err=True)


def complain_of(failed: Iterable[FailedImage]) -> None:
    """Print a line on stderr for each image that could not be used."""
    for image in failed:
        complain("error", str(image.error))


def complain_of_agents(sentences: Iterable[str]) -> bool:
    """Print a line on stderr for each sentence about an agent that did not answer; return whether there is any."""
    is_any = False
    for sentence in sentences:
        complain("warning", sentence)
        is_any = True
    return is_any


def finish(used: int, failed: int, is_unanswered: bool = False) -> NoReturn:
    """End the command: exit code 0 if no image failed, 3 if some did, 1 if all did.

    Args:
        used: images that could be used.
        failed: those that could not.
        is_unanswered: whether an agent did not answer about some: the exit code is 4 then, unless images failed.
    """
    code = UNANSWERED if is_unanswered else 0
    if failed:
        code = SOME_FAILED if used else Failure.exit_code
    click.get_current_context().exit(code)
