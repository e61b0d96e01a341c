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

WRITTEN_SECOND = {
    "others": """
        anything else it might be?
        what are my other choices
        is there a plan b
    """,
    "trust": """
        would you bet on it
        how much weight can i put on this result
        is that legit
    """,
    "record": """
        do you make many mistakes
        how well do you recognise scab
        whats ur score on rust
        how often do you mess up
    """,
    "do": """
        ok and now?
        who should i call
        does somebody have to check this
    """,
    "why not": """
        shouldnt this be scab?
        looks like rust to me
        what speaks against healthy
        u sure its not multiple
    """,
    "compare": """
        and versus the photo before?
        is this one worse than the last
        what changed since the previous picture
    """,
    "similar": """
        got any pictures like it
        show me what you compared it to
        lookalikes
    """,
    "who": """
        what did the others say
        did qwen and gaussian agree
        was anybody of a different opinion
    """,
    "sure": """
        how certain r u
        in percent?
    """,
    "why": """
        on what grounds
        what led you to that
    """,
    "without": """
        leave qwen out of it
    """,
    "again": """
        have a closer look pls
    """,
    "thanks": """
        much appreciated
    """,
    "help": """
        how do i use this
    """,
}
"""Written when the rules understood all of the first; they understood 13 of these 34, and then learned from them."""

HELD_OUT = {
    "others": """
        is there more than one possibility
        give me the alternatives
        might this be a different disease
    """,
    "trust": """
        is it safe to rely on that
        do you stand by this
        how solid is that
    """,
    "record": """
        what's your hit rate for scab
        how frequently are you mistaken
        have you been wrong before
        give me your stats
    """,
    "do": """
        what would you recommend
        now what?
        must a human look at it
        how shall we proceed
    """,
    "why not": """
        but it looks like scab
        why did you rule out rust
        cant it be healthy
    """,
    "compare": """
        how is it different to the one i sent before
        difference to the last
        did it get worse since last time
    """,
    "similar": """
        which known images resemble it
        any like this in your memory
    """,
    "who": """
        what were the votes
        who said healthy
        is everybody in agreement
    """,
    "sure": """
        how probable is scab
        whats the likelyhood
    """,
    "why": """
        pls elaborate
        how did you come to that conclusion
    """,
    "without": """
        what happens when qwen is left out
    """,
    "again": """
        once more please
    """,
    "thanks": """
        brilliant, ta
    """,
    "help": """
        what questions do you understand
    """,
}
"""Written last, and not learned from: how much of it is understood is what to expect of people."""


def each(phrasings: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Yield each question with what it means."""
    for kind, lines in phrasings.items():
        yield from ((line.strip(), kind) for line in lines.strip().splitlines())
