"""What a language model may not say in the name of a diagnosis."""

from __future__ import annotations

import pytest

from consilience.orchestrator.reasoner.rationale_check import address_in, contradicts

NOBODY = [
    "No person needs to look.",
    "A person does not need to check it",
    "no human review is required",
    "Nobody has to look at this.",
    "There’s no need to refer this to an expert.",
    "An expert need not, and shouldn't, be involved; no inspection is needed.",
    "Review is unnecessary: a person must not be called.",
    "It doesn't warrant referral",
    "ＮＯ ＰＥＲＳＯＮ needs to look",
    "no per\u200bson needs to look",
]
SOMEBODY = ["A person should look.", "This must be reviewed: an expert needs to check it.", "Refer it to a specialist."]
NEITHER = [
    "Three agents say rust, and the similar images agree.",
    "The leaf shows no sign of scab; linear probe was not counted.",
    "The agents do not agree, so the margin is small.",
    "It needs no more evidence.",
]


@pytest.mark.parametrize("words", NOBODY)
def test_that_nobody_needs_to_look_is_never_the_models_to_say(words: str) -> None:
    assert all(contradicts(f"It is rust. {words}", settled) for settled in (True, False, None))


@pytest.mark.parametrize("words", SOMEBODY)
def test_that_somebody_should_look_may_be_said_where_it_is_so(words: str) -> None:
    assert not contradicts(words, False)
    assert contradicts(words, True)
    assert contradicts(words, None)


@pytest.mark.parametrize("words", NEITHER)
def test_other_words_stay(words: str) -> None:
    assert not any(contradicts(words, settled) for settled in (True, False, None))


def test_a_referred_diagnosis_is_neither_settled_nor_safe() -> None:
    for words in ("The case is settled.", "It was fully settled", "It is safe to accept.", "It can be safely skipped"):
        assert contradicts(words, False)
        assert not contradicts(words, True)
    assert not contradicts("It is not settled. It is never settled.", False)


@pytest.mark.parametrize(
    "words",
    [
        "see https://evil.test/x",
        "pay at evil.com",
        "www.evil",
        "write to a.b@evil.test",
        "call tel:+4912",
        "at 10.0.0.1",
        "HTTP://EVIL",
        "ｅｖｉｌ．com",
        "evil.example/path",
        "[here](javascript:alert)",
        "evil\u200b.com",
    ],
)
def test_an_address_is_found(words: str) -> None:
    assert address_in(words)


@pytest.mark.parametrize("words", ["It is rust.The agents agree", "0.97 of 1.0", "e.g. rust, i.e. fungus", "CCC/ECE"])
def test_what_is_no_address_stays(words: str) -> None:
    assert not address_in(words)
