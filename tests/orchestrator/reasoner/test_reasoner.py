"""A language model that reads records: what it is asked, what of its replies is used, what is kept, what it costs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consilience.agents import ReplyCache
from consilience.core.errors import SettingsError
from consilience.core.settings.model_settings import ReasonerSettings
from consilience.core.task import PromptOverride
from consilience.core.trust import Trust
from consilience.orchestrator.reasoner.reasoner import Reasoner
from tests.support.reasoner_cases import LOOKS, TASK, look, output_of, read, reasoner, record, text_of
from tests.support.scripted_server import Scripted, ScriptedServer, chat


@pytest.fixture
def cache(tmp_path: Path) -> ReplyCache:
    return ReplyCache(tmp_path / "replies.sqlite")


def test_it_reads_the_record_and_no_pixels(server: ScriptedServer) -> None:
    server.replies = [chat(output_of("rust", 0.7, ask_again=[{"agent": "qwen", "why": "it is torn"}]))]
    [reading] = read(reasoner(server, role="advise"), record(can_revise=["qwen"]))
    assert reading.prediction.agent == "reasoner"
    assert reading.prediction.probabilities == pytest.approx({"healthy": 0.15, "rust": 0.7, "scab": 0.15})
    assert reading.prediction.rationale == "Both looks name it."
    assert reading.prediction.prompt == "reasoner 1, repair 1"
    assert reading.ask_again == {"qwen": "it is torn"}
    [request] = server.requests
    assert [(message["role"], type(message["content"])) for message in request["messages"]] == [
        ("system", str),
        ("user", str),
    ]
    assert '"gaussian": "scab", confidence 81.0 %' in text_of(request)
    assert "leaves" not in text_of(request)
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("tiny", 0.0, 400)
    assert request["response_format"]["json_schema"]["strict"] is True


def test_four_agents_and_ten_cases_fit_into_a_small_context(server: ScriptedServer) -> None:
    """SmolLM2 reads 2.6 characters as a token, so that 1,200 tokens are left for more in a context of 2,048."""
    server.replies = [chat(output_of("scab"))]
    looks = [look(name, "scab", 0.8, rationale="olive spots, " * 40) for name in ("gpt", "llava", "qwen", "gaussian")]
    cases = [{"id": f"{i}", "label": TASK.names[i % 3], "similarity": 0.9 - i / 50, "source": ""} for i in range(10)]
    trusts = [Trust(look["agent"], "first", 90, 0.031, 0.011, 0.45, 0.933) for look in looks]
    read(reasoner(server, role="advise"), replace(record(looks, neighbours=cases), trusts=trusts))
    assert len(text_of(server.requests[0])) < 2.6 * 1200


def test_a_request_without_a_schema_and_with_fields_of_ones_own(server: ScriptedServer) -> None:
    server.replies = [chat(output_of("scab"))]
    read(reasoner(server, structured="none", extra_body={"top_k": 1}), record())
    [request] = server.requests
    assert "response_format" not in request
    assert request["top_k"] == 1


def test_only_the_one_that_explains_is_told_the_diagnosis(server: ScriptedServer) -> None:
    server.replies = [chat(output_of("scab"))]
    read(reasoner(server, role="explain"), record())
    read(reasoner(server, role="advise"), record())
    explain, advise = map(text_of, server.requests)
    assert 'The diagnosis is "scab".' in explain
    assert "The diagnosis is" not in advise


def test_a_reply_that_is_no_opinion_is_asked_for_once_more(server: ScriptedServer) -> None:
    server.replies = [chat(output_of("mildew")), chat(output_of("scab"))]
    [reading] = read(reasoner(server), record())
    assert reading.prediction.label == "scab"
    assert reading.prediction.tokens == 220
    assert '"mildew" is none of the labels' in server.requests[1]["messages"][3]["content"]


FAILURES: dict[str, tuple[list[Scripted], str]] = {
    "no opinion, twice": ([chat("scab")], 'no JSON object; it answered "scab"'),
    "refused": ([chat(None, message={"role": "assistant", "content": None, "refusal": "I must not"})], "I must not"),
    "cut off": ([chat('{"rationale": "a', finish_reason="length")], "it was cut off at max_tokens"),
    "status 500": ([Scripted({"error": {"message": "out of memory"}}, 500)], "status 500: out of memory"),
    "reset": ([Scripted(fault="reset")], "no whole reply"),
    "another label": ([chat(output_of("rust"))], 'it was to explain "scab", but says "rust"'),
    "made-up figures, twice": ([chat(output_of("scab", rationale="It is 99.9 % sure."))], "99.9 %"),
    "no words, twice": ([chat(output_of("scab", rationale=" "))], "'rationale' is empty"),
    "less than even": ([chat(output_of("scab", 0.2))], "less than an even share"),
    "who is not there": (
        [chat(output_of("scab", ask_again=[{"agent": "eve", "why": ""}]))],
        '"eve" cannot be asked',
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_what_fails_says_why_and_what_it_cost(server: ScriptedServer, case: str) -> None:
    server.replies, cause = FAILURES[case]
    adviser = reasoner(server, price_per_million_input_tokens=1.0, price_per_million_output_tokens=10.0)
    [reading] = read(adviser, record())
    assert cause in (reading.prediction.error or "")
    assert reading.ask_again == {}
    answered = sum(1 for _ in server.requests) if reading.prediction.raw is not None else 0
    assert reading.prediction.cost_usd == pytest.approx(answered * 0.0002)
    assert (answered == 2) == ("twice" in case or case in ("less than even", "who is not there"))


def test_a_figure_that_was_made_up_can_be_taken_back(server: ScriptedServer) -> None:
    server.replies = [chat(output_of("scab", rationale="99.9 % of experts agree."))]
    server.replies.append(chat(output_of("scab", 0.6, "The posterior is 87 %, the similar images give it 67.0 %.")))
    [reading] = read(reasoner(server), record())
    assert reading.prediction.rationale == "The posterior is 87 %, the similar images give it 67.0 %."


@pytest.mark.parametrize("role", ["advise", "decide"])
def test_a_label_of_its_own_is_no_contradiction_where_it_is_to_judge(server: ScriptedServer, role: str) -> None:
    server.replies = [chat(output_of("rust", 0.9))]
    [reading] = read(reasoner(server, role=role), record())
    assert reading.prediction.label == "rust"


def test_it_is_given_up_when_its_time_is_up(server: ScriptedServer) -> None:
    server.replies = [Scripted(fault="silence")]
    [reading] = read(reasoner(server), record(), seconds=0.2)
    assert reading.prediction.error == "no answer within 0.2 seconds"


def test_many_records_are_read_at_once(server: ScriptedServer) -> None:
    server.replies, server.together = [chat(output_of("scab"))], 8
    readings = read(reasoner(server, concurrency=8), *[record(novelty=i / 8) for i in range(8)])
    assert [reading.prediction.label for reading in readings] == ["scab"] * 8
    assert server.most_at_once == 8


def test_one_that_fails_does_not_stop_the_others(server: ScriptedServer) -> None:
    server.by_request = lambda request: chat(output_of("rust" if "25.0 %" in text_of(request) else "scab"))
    readings = read(reasoner(server), record(), record(LOOKS[:1]))
    assert [reading.prediction.label for reading in readings] == [None, "scab"]


def test_a_rerun_asks_nothing(server: ScriptedServer, cache: ReplyCache) -> None:
    server.replies = [chat(output_of("scab", ask_again=[{"agent": "qwen", "why": "w"}]))]
    asked = record(can_revise=["qwen"])
    first = read(reasoner(server, cache), asked)
    again = read(reasoner(server, cache), asked)
    assert len(server.requests) == 1
    assert again[0].ask_again == first[0].ask_again == {"qwen": "w"}
    assert again[0].prediction.cached
    assert again[0].prediction.label == "scab"
    [entry] = cache.entries()
    assert (entry.image, entry.prompt) == ("identity", "reasoner 1, repair 1")


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "model": ({}, {"model": "other"}),
    "role": ({}, {"role": "advise"}),
    "temperature": ({}, {"temperature": 0.5}),
    "max_tokens": ({}, {"max_tokens": 300}),
    "extra_body": ({}, {"extra_body": {"seed": 1}}),
    "the looks": ({"looks": LOOKS[:1]}, {}),
    "the posterior": ({"posterior": {"healthy": 0.02, "rust": 0.12, "scab": 0.86}}, {}),
    "who can look again": ({"can_revise": ["gaussian"]}, {}),
}


@pytest.mark.parametrize("case", CHANGES)
def test_what_decides_a_reply_decides_whether_it_is_kept(server: ScriptedServer, cache: ReplyCache, case: str) -> None:
    server.replies = [chat(output_of("scab", ask_again=[]))]
    changed, settings = CHANGES[case]
    read(reasoner(server, cache), record())
    read(reasoner(server, cache, **settings), record(**changed))
    assert len(server.requests) == 2


def test_what_failed_is_not_kept(server: ScriptedServer, cache: ReplyCache) -> None:
    server.replies = [chat(output_of("rust")), chat(output_of("scab"))]
    read(reasoner(server, cache), record())
    [reading] = read(reasoner(server, cache), record())
    assert reading.prediction.label == "scab"


def test_words_of_a_tasks_own_are_used_and_checked_at_once(server: ScriptedServer) -> None:
    server.replies = [chat(output_of("scab"))]
    settings = ReasonerSettings(model="tiny", base_url=server.url, role="advise")
    own = {"reasoner": PromptOverride(version="leaves", texts={"judge": "Which disease is it?"})}
    [reading] = read(Reasoner(settings, TASK.model_copy(update={"prompts": own})), record())
    assert reading.prediction.prompt == "reasoner leaves, repair 1"
    assert "Which disease is it?" in text_of(server.requests[0])
    own = {"reasoner": PromptOverride(version="leaves", texts={"judge": "Is it {colour}?"})}
    with pytest.raises(SettingsError, match="colour"):
        Reasoner(settings, TASK.model_copy(update={"prompts": own}))


def test_a_key_that_is_missing_is_named_and_one_that_is_there_is_not(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.replies = [Scripted({"error": {"message": "bad key sk-secret-1"}}, 401)]
    adviser = reasoner(server, key_variable="REASONER_KEY")
    [reading] = read(adviser, record())
    assert "REASONER_KEY" in (reading.prediction.error or "")
    monkeypatch.setenv("REASONER_KEY", "sk-secret-1")
    [reading] = read(adviser, record())
    assert "sk-secret" not in (reading.prediction.error or "")
    assert server.headers[0]["Authorization"] == "Bearer sk-secret-1"
