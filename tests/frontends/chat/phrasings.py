"""What people type about a diagnosis, and what they mean: written down before the rules that understand it.

Labels and agents of the diagnosis that they ask about; each line of a text is one question.
"""

from __future__ import annotations

from collections.abc import Iterator

LABELS = ("healthy", "rust", "scab", "multiple diseases", "frog eye leaf spot")
AGENTS = ("neighbours", "gaussian", "qwen", "zero-shot")

WRITTEN_FIRST = {
    "others": """
        what else could it be?
        wat else cud it be
        any other possibilities
        could it be something else
        second guess?
        whats the runner up
    """,
    "trust": """
        can I trust this?
        can i trust you on this
        is this reliable
        should i believe it
        how reliable is that
        r u wrong
    """,
    "record": """
        how often are you right
        how often are you right about rust?
        how good are you at scab
        what's your accuracy
        how accurate is this thing
        acuracy?
        how many times do you get multiple diseases wrong
    """,
    "do": """
        what should I do?
        what now
        what do i do next
        so do i need to show it to someone?
        whats next
        what does refer mean
    """,
    "why not": """
        why not rust?
        why isn't it scab
        y not healthy
        why didnt you say frog eye
        could it also be scab, please?
        is it maybe scab?
    """,
    "compare": """
        compare with the last one
        compare to previous
        is it the same as the one before
        whats different from the last image
        How does this compare with my last picture?
    """,
    "similar": """
        show me similar ones
        similar
        simlar pics pls
        have you seen something like this before
        Can you show me others that look like this?
    """,
    "who": """
        who disagrees?
        who disagres
        do they all agree
        which model said scab
        what does qwen say
        anyone against?
    """,
    "sure": """
        how sure are you?
        how shure
        confidence?
        what are the odds
        whats the probability of rust?
    """,
    "why": """
        why?
        y
        how come
        why do you think so
        what makes you say that
        reason
    """,
    "without": """
        what if you don't trust qwen?
        ignore gaussian
        and without qwen?
    """,
    "again": """
        look again
        pls check again
        can you have another look
    """,
    "thanks": """
        thanks
        thx!
        thank you so much
        ok great
    """,
    "help": """
        help
        what can you do?
        what can i ask
        hlep
    """,
}


def each(phrasings: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each question with what it means."""
    for kind, lines in phrasings.items():
        yield from ((line.strip(), kind) for line in lines.strip().splitlines())
