"""Vision-language agents against a server: what is asked, what is made of the answers, and what it costs."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from consilience.agents import Agent, VlmSettings
from consilience.core.prediction import Prediction
from consilience.core.task import PromptOverride
from tests.support.scripted_server import ScriptedServer, chat, logprobs, says
from tests.support.vlm_cases import TASK, again, agent, evidence, image, look, pictures, texts


def test_it_follows_the_protocol(server: ScriptedServer) -> None:
    assert isinstance(agent(server), Agent)
    assert (agent(server).name, agent(server).can_revise) == ("qwen", True)
    assert not agent(server, second_look=False).can_revise


def test_a_stated_confidence_goes_to_the_label_and_the_rest_is_spread(server: ScriptedServer) -> None:
    server.replies = [chat(says("rust", 0.8))]
    [seen] = look(agent(server), image(100))
    assert seen.probabilities == pytest.approx({"healthy": 0.1, "rust": 0.8, "scab": 0.1})
    assert (seen.stage, seen.label, seen.confidence, seen.rationale) == ("first", "rust", 0.8, "orange spots")
    assert seen.raw == says("rust", 0.8)


def test_a_low_stated_confidence_does_not_make_another_label_the_answer(server: ScriptedServer) -> None:
    server.replies = [chat(says("scab", 0.05))]
    [seen] = look(agent(server), image(100))
    assert (seen.label, seen.confidence) == ("scab", 0.05)


def test_unsure_is_an_abstention_and_no_label(server: ScriptedServer) -> None:
    server.replies = [chat(says("unsure", 0.3, "too dark"))]
    [seen] = look(agent(server), image(100))
    assert (seen.abstained, seen.probabilities, seen.rationale) == (True, None, "too dark")


def test_the_request_holds_the_question_the_schema_and_the_image_in_the_size_asked_for(server: ScriptedServer) -> None:
    server.replies = [chat(says("rust"))]
    qwen = agent(server, image_side=30, image_detail="low", extra_body={"seed": 7, "temperature": 1})
    look(qwen, image(100, (40, 60)))
    [request] = server.requests
    system, question = texts(request)
    assert "never an instruction" in system
    assert '"apple leaf"' in question
    assert '- "healthy"\n- "rust": "orange spots"\n- "scab"\n' in question
    [picture] = pictures(request)
    assert picture.size == (30, 20)
    assert np.abs(np.asarray(picture).astype(int) - 100).max() <= 2
    assert request["messages"][1]["content"][0]["image_url"]["detail"] == "low"
    assert (request["model"], request["seed"], request["temperature"]) == ("tiny", 7, 1)
    schema = request["response_format"]["json_schema"]
    assert schema["strict"] is True
    assert schema["schema"]["properties"]["label"]["enum"] == ["healthy", "rust", "scab", "unsure"]
    assert "authorization" in {name.lower() for name in server.headers[0]}


def test_log_probabilities_give_every_label_its_probability(server: ScriptedServer) -> None:
    shares = {"ru": 0.5, "sc": 0.3, "rust": 0.1, "h": 0.1}
    listed = [*((token, math.log(share)) for token, share in shares.items()), ("x", -9999.0)]
    reply = logprobs(("ru", listed), ("st", [("st", 0.0)]))
    server.replies = [chat("rust", logprobs=reply)]
    [seen] = look(agent(server, confidence="logprob"), image(100))
    assert seen.probabilities == pytest.approx({"healthy": 0.1, "rust": 0.6, "scab": 0.3})
    [request] = server.requests
    assert request["structured_outputs"] == {"choice": ["healthy", "rust", "scab", "unsure"]}
    assert (request["logprobs"], request["top_logprobs"], request["temperature"]) == (True, 20, 0)
    assert "response_format" not in request
    assert texts(request)[-1].endswith("Answer with the label alone, spelled as it stands above.")


def test_sampled_answers_are_counted_and_smoothed(server: ScriptedServer) -> None:
    server.replies = [chat(says("scab"), says("rust", rationale="halos"), "what?", says("Cedar Rust"), says("rust"))]
    [seen] = look(agent(server, confidence="sampled", samples=5), image(100))
    assert seen.probabilities == pytest.approx({"healthy": 1 / 15, "rust": 10 / 15, "scab": 4 / 15})
    assert seen.rationale == "halos"
    [request] = server.requests
    assert (request["n"], request["temperature"]) == (5, 1)


def test_a_server_that_ignores_n_is_asked_until_there_are_enough(server: ScriptedServer) -> None:
    server.replies = [chat("rust"), chat("rust"), chat("scab")]
    qwen = agent(server, confidence="sampled", structured="choice", samples=3, price_per_million_input_tokens=1)
    [seen] = look(qwen, image(100))
    assert seen.probabilities == pytest.approx({"healthy": 1 / 12, "rust": 7 / 12, "scab": 4 / 12})
    assert [request.get("n") for request in server.requests] == [3, 2, None]
    assert seen.tokens == 330
    assert seen.cost_usd == pytest.approx(300e-6)


def test_samples_that_are_mostly_unsure_abstain(server: ScriptedServer) -> None:
    server.replies = [chat("unsure", "unsure", "rust")]
    [seen] = look(agent(server, confidence="sampled", structured="choice", samples=3), image(100))
    assert seen.abstained


def test_a_reply_that_is_no_answer_is_sent_back_once_with_the_problem(server: ScriptedServer) -> None:
    server.replies = [chat(says("mildew")), chat(says("Scab"))]
    [seen] = look(agent(server, price_per_million_output_tokens=2), image(100))
    assert (seen.label, seen.tokens) == ("scab", 220)
    assert seen.cost_usd == pytest.approx(40e-6)
    assert [message["role"] for message in server.requests[1]["messages"]] == ["system", "user", "assistant", "user"]
    assert 'could not be used: "mildew" is none of the labels' in texts(server.requests[1])[-1]
    assert server.requests[1]["messages"][:2] == server.requests[0]["messages"]


def test_the_second_reply_that_is_no_answer_is_a_failure_with_the_raw_reply(server: ScriptedServer) -> None:
    server.replies = [chat("I think it is mildew.")]
    [seen] = look(agent(server), image(100))
    assert seen.error == 'the reply holds no JSON object; it answered "I think it is mildew."'
    assert (seen.raw, seen.tokens, len(server.requests)) == ("I think it is mildew.", 220, 2)


def test_a_second_look_shows_the_cases_and_the_own_answer_only(server: ScriptedServer) -> None:
    server.replies = [chat(says("scab", rationale="like the cases"))]
    first = Prediction("qwen", probabilities={"healthy": 0.1, "rust": 0.8, "scab": 0.1}, rationale="orange spots")
    [seen] = again(agent(server, neighbours_shown=2, neighbour_side=28), [first], [evidence("scab", "scab", "rust")])
    assert (seen.stage, seen.label, seen.rationale) == ("second", "scab", "like the cases")
    [request] = server.requests
    assert [message["role"] for message in request["messages"]] == ["system", "user", "assistant", "user"]
    lines = texts(request)
    assert json.loads(lines[2]) == {"rationale": "orange spots", "label": "rust", "confidence": 0.8}
    assert lines[3:5] == ['Case 1, labelled "scab", similarity 0.90:', 'Case 2, labelled "scab", similarity 0.80:']
    assert '- "rust": 33.3 %\n- "scab": 66.7 %\n' in lines[5]
    assert [max(picture.size) for picture in pictures(request)] == [60, 28, 28]
    assert "leaves" not in json.dumps(request)  # where a case came from is nobody's business


def test_a_second_look_that_does_not_say_why_is_asked_again(server: ScriptedServer) -> None:
    server.replies = [chat(says("scab", rationale="")), chat(says("rust", rationale="orange after all"))]
    first = Prediction("qwen", probabilities={"healthy": 0.1, "rust": 0.8, "scab": 0.1})
    [seen] = again(agent(server), [first], [evidence("scab")])
    assert (seen.label, seen.rationale) == ("rust", "orange after all")
    assert "'rationale' is empty; it must say why" in texts(server.requests[1])[-1]


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (Prediction("qwen", abstained=True), '{"rationale": "", "label": "unsure"}'),
        (Prediction("qwen", error="no reply"), "I gave no usable answer."),
    ],
)
def test_a_second_look_after_no_answer_and_without_cases(
    server: ScriptedServer, first: Prediction, message: str
) -> None:
    server.replies = [chat(says("scab"))]
    [seen] = again(agent(server), [first], [evidence()])
    assert seen.label == "scab"
    assert texts(server.requests[0])[2] == message
    assert "no labelled case was found" in texts(server.requests[0])[-1]


def test_a_second_look_by_choice(server: ScriptedServer) -> None:
    listed = [("rust", math.log(0.75)), ("scab", math.log(0.25))]
    server.replies = [chat("rust", logprobs=logprobs(("rust", listed)))]
    first = Prediction("qwen", probabilities={"healthy": 0.0, "rust": 0.0, "scab": 1.0})
    [seen] = again(agent(server, confidence="logprob"), [first], [evidence("rust")])
    assert seen.probabilities == pytest.approx({"healthy": 0.0, "rust": 0.75, "scab": 0.25})
    assert texts(server.requests[0])[2] == "scab"


def test_images_are_asked_about_at_once_up_to_the_limit_and_answered_in_order(server: ScriptedServer) -> None:
    server.together = 4  # every four wait for each other: fewer at once would never end
    server.by_request = lambda request: chat(says("rust", int(np.asarray(pictures(request)[0]).mean()) / 1000))
    seen = look(agent(server, concurrency=4), *[image(10 * i) for i in range(1, 13)])
    assert [prediction.confidence for prediction in seen] == pytest.approx([i / 100 for i in range(1, 13)], abs=0.003)
    assert server.most_at_once == 4


def test_gpu_seconds_are_shared_by_the_requests_in_flight(server: ScriptedServer) -> None:
    server.together = 8
    server.replies = [chat(says("rust"))]
    seen = look(agent(server, concurrency=8, price_per_gpu_second=2.0), *[image(i) for i in range(8)])
    assert all(prediction.cost_usd > 0 for prediction in seen)
    assert sum(prediction.cost_usd for prediction in seen) < 2.0 * sum(prediction.seconds for prediction in seen) / 2


def test_only_a_vector_is_a_failure_of_that_image(server: ScriptedServer) -> None:
    server.replies = [chat(says("rust"))]
    seen = look(agent(server), None, image(3))
    assert seen[0].error is not None
    assert "needs pixels" in seen[0].error
    assert seen[1].label == "rust"


def test_each_event_loop_has_its_own_connections(server: ScriptedServer) -> None:
    server.replies = [chat(says("rust"))]
    qwen = agent(server)
    assert [look(qwen, image(i))[0].label for i in range(3)] == ["rust"] * 3


def test_a_task_has_words_of_its_own(server: ScriptedServer) -> None:
    server.replies = [chat(says("rust"))]
    own_words = {"look": PromptOverride(version="mine", texts={"system": "You know apple leaves."})}
    (prediction,) = look(agent(server), image(1), task=TASK.model_copy(update={"prompts": own_words}))
    assert prediction.prompt == "look mine, repair 1"
    assert texts(server.requests[0])[0] == "You know apple leaves."


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"base_url": "http://me:secret@host/v1"}, "must not hold a user"),
        ({"base_url": "host:80"}, "must be an http"),
        ({"confidence": "logprob", "structured": "json_schema"}, "label alone"),
        ({"structured": "choice"}, "needs more than a label"),
        ({"colour": "red"}, "Extra inputs"),
        ({"samples": 1}, "greater than or equal to 2"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem) as caught:
        VlmSettings(**{"name": "a", "model": "m", "base_url": "http://host/v1"} | settings)
    assert "secret" not in str(caught.value)
