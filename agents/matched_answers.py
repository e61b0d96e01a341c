"""Whether a table of answers goes with labelled images: which image each answer is of, and what does not agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from consilience.agents.answers_beside import AnswersBeside
from consilience.agents.base import Agent
from consilience.core.errors import DatasetError
from consilience.core.task import Task

SHOWN = 3
"""Images that are named, before 'and so many more'."""


def check_answers(
    agents: Sequence[Agent], sources: Sequence[str], labels: Sequence[str], task: Task
) -> tuple[str, ...]:
    """Check the answers that stand in tables against the labelled images, before they teach anything.

    Args:
        agents: those of tables among them are looked at.
        sources, labels: path or address, and label, of each image that the answers are to be of.
        task: names the labels.

    Returns:
        Which images of a table are not among the labelled ones, and which of those it lacks, a sentence each.

    Raises:
        DatasetError: a table cannot be used; it is of none of the images, names several of them alike, gives one
            another truth than its label, or has probabilities of other labels; names the row.
    """
    of_tables = {agent.settings.path: agent for agent in agents if isinstance(agent, AnswersBeside)}
    return tuple(words for agent in of_tables.values() for words in _checked(agent, sources, labels, task))


def _checked(agent: AnswersBeside, sources: Sequence[str], labels: Sequence[str], task: Task) -> list[str]:
    agent.reader(task)
    table, found, lacking = agent.answers.table, dict[str, str](), list[str]()
    for source, label in zip(sources, labels, strict=True):
        image = agent.answers.find(source, agent.settings.images)
        if image is None:
            lacking.append(source)
            continue
        if (other := found.setdefault(image.name, source)) != source:
            raise DatasetError(
                f"{table.name} call two images '{image.name}': '{other}' and '{source}'; give their paths in the table"
            )
        if image.truth is not None and task.find(image.truth) != label:
            raise table.refusal(image.row, f"the truth of '{image.name}' is '{image.truth}', and the image's '{label}'")
    if not found:
        raise DatasetError(
            f"{table.name} are of none of the labelled images: they call one '{next(table.names())}', and an image is "
            f"'{sources[0]}'; give the images' paths, whole or below their folder"
        )
    beyond = (name for name in table.names() if name not in found)
    words = {
        f"{table.name} are also of images that the labelled ones lack: ": (len(table) - len(found), beyond),
        f"{table.name} are not of these labelled images: ": (len(lacking), iter(lacking)),
    }
    return [what + _named(count, names) for what, (count, names) in words.items() if count]


def _named(count: int, names: Iterator[str]) -> str:
    """Return the first few of so many images: "'a.png', 'b.png', 'c.png' and 3 more"."""
    more = f" and {count - SHOWN:,} more" if count > SHOWN else ""
    return ", ".join(f"'{name}'" for name in islice(names, SHOWN)) + more
