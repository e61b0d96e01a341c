"""The command line, `consilience`. A command imports what it needs when it runs, so that --help is quick."""

from __future__ import annotations

import gc
import os
from typing import Any

import click

from consilience.core.errors import ConsilienceError
from consilience.frontends.cli.channels.chat_command import chat
from consilience.frontends.cli.channels.slack_command import slack
from consilience.frontends.cli.channels.web_command import web
from consilience.frontends.cli.evaluation.compare_command import compare
from consilience.frontends.cli.evaluation.evaluate_command import evaluate
from consilience.frontends.cli.evaluation.replay_command import replay
from consilience.frontends.cli.evaluation.stress_command import stress
from consilience.frontends.cli.models.encoders_command import encoders
from consilience.frontends.cli.models.export_command import export
from consilience.frontends.cli.models.prompts_command import prompts
from consilience.frontends.cli.models.replies_command import replies
from consilience.frontends.cli.models.serve_vlm_command import serve_vlm
from consilience.frontends.cli.models.tune_command import tune
from consilience.frontends.cli.outcome import EXIT_CODES, INTERRUPTED, Failure, complain
from consilience.frontends.cli.panels.confirm_command import confirm
from consilience.frontends.cli.panels.demo_command import demo
from consilience.frontends.cli.panels.diagnose_command import diagnose
from consilience.frontends.cli.panels.fit_command import add, add_label, fit, remove
from consilience.frontends.cli.panels.show_command import check, graph, show
from consilience.frontends.cli.people.drift_command import drift
from consilience.frontends.cli.people.feedback_command import feedback, review
from consilience.frontends.cli.people.history_command import history
from consilience.frontends.cli.people.learn_command import learn, learned, undo
from consilience.frontends.cli.people.relabel_command import relabel
from consilience.frontends.cli.people.suggest_command import suggest
from consilience.frontends.cli.people.suspects_command import suspects


class CommandLine(click.Group):
    """A group of commands in sections, which may raise a ConsilienceError, or the system's own error.

    Such an error is one line on stderr and exit code 1.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sections: dict[str, tuple[click.Command, ...]] = {}

    def add_section(self, heading: str, *commands: click.Command) -> None:
        """Add commands that the help lists below `heading`, in this order."""
        self.sections[heading] = commands
        for command in commands:
            self.add_command(command)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order in which people need them

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.commands), default=0)
        for heading, commands in self.sections.items():
            with formatter.section(heading):
                room = formatter.width - width - 6
                formatter.write_dl(
                    [(str(command.name).ljust(width), command.get_short_help_str(room)) for command in commands]
                )

    def invoke(self, ctx: click.Context) -> Any:
        # A short process: collecting garbage while a million objects are imported took a third of its time, and BLAS
        # threads wait for each other over products as small as ours.
        gc.set_threshold(50_000)
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        try:
            from consilience.frontends.cli.terminal import quiet_libraries, tidy_streams

            tidy_streams()
            quiet_libraries(ctx.params["debug"])
            return super().invoke(ctx)
        except (BrokenPipeError, click.ClickException, click.Abort, click.exceptions.Exit):
            raise  # whoever read the output has gone, or the command has said how it ends: click does the rest
        except (Exception, KeyboardInterrupt) as error:
            if _is_interruption(error):
                complain("interrupted", "nothing was left half-written")
                ctx.exit(INTERRUPTED)
            if ctx.params["debug"] or not isinstance(error, (ConsilienceError, OSError)):
                raise
            raise Failure(str(error)) from error


def _is_interruption(error: BaseException | None) -> bool:
    """Return whether Ctrl-C is behind an error.

    While modules are imported it may come as their ImportError or SystemError, raised from it or while it was handled;
    our own errors, and the system's, are what they say.
    """
    while error is not None and not isinstance(error, KeyboardInterrupt):
        is_plain = isinstance(error, (ConsilienceError, OSError))
        error = error.__cause__ or (None if is_plain else error.__context__)
    return error is not None


@click.group(cls=CommandLine, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="consilience", prog_name="consilience")
@click.option("--debug", is_flag=True, help="Show tracebacks and the messages of libraries.")
def main(debug: bool) -> None:
    """Weigh independent vision agents by the trust that each has earned.

    Fit a panel on labelled images, then diagnose with it: each image gets a label with its evidence, or is referred
    to a person. `consilience demo` shows it; `consilience COMMAND --help` explains a command.
    """


main.add_section("Start", demo, fit, diagnose)
main.add_section("Look at images", chat, web, slack, history)
main.add_section("Learn from people", suspects, relabel, suggest, feedback, review, learn, learned, undo, drift)
main.add_section("Evaluate", evaluate, compare, stress, replay)
main.add_section("Models", encoders, prompts, replies, export, tune, serve_vlm)
main.add_section("Panels", show, check, confirm, add, add_label, remove, graph)
