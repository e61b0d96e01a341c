"""What a server takes is found out from what it refuses, and kept: against servers that behave as providers do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from consilience.agents import VlmSettings
from consilience.agents.configured import reached, settings_of
from consilience.agents.vlm.endpoint.accepted_options import AcceptedOptions
from consilience.core.prediction import Prediction
from tests.support.scripted_server import Scripted, ScriptedServer, chat, says
from tests.support.vlm_cases import again, agent, evidence, image, look, pictures, texts

FIRST = Prediction("qwen", probabilities={"healthy": 0.1, "rust": 0.8, "scab": 0.1})
BOUNDS = ("max_tokens", "max_completion_tokens")


def refusing(*names: str, status: int = 422, form: str = "{}: Extra inputs are not permitted") -> Any:
    """Return a server that refuses requests with any of these options, and else answers."""

    def answer(request: dict[str, Any]) -> Scripted:
        wrong = next((name for name in names if name in request), None)
        if wrong is None:
            return chat(says("rust"))
        return Scripted({"error": {"message": form.format(wrong)}}, status)

    return answer


@pytest.mark.parametrize(
    ("refused", "kept", "form"),
    [
        ("max_completion_tokens", "max_tokens", "{}: Extra inputs are not permitted"),  # Mistral
        (
            "max_tokens",
            "max_completion_tokens",
            "Unsupported parameter: '{}' is not supported with this model. Use 'max_completion_tokens' instead.",
        ),  # OpenAI's models that think
    ],
)
def test_the_bound_that_a_server_takes_is_found_out_and_kept(
    server: ScriptedServer, refused: str, kept: str, form: str
) -> None:
    server.by_request = refusing(refused, form=form)
    assert [seen.label for seen in look(agent(server), *map(image, range(6)))] == ["rust"] * 6
    bounds = [{name: request[name] for name in BOUNDS if name in request} for request in server.requests]
    assert all(len(bound) == 1 for bound in bounds)  # a bound always reaches the server
    assert bounds.count({kept: 400}) == 6
    server.requests.clear()
    look(agent(server, name="another agent"), image(9))  # of the same address and model
    assert [kept in request for request in server.requests] == [True]


def test_a_server_that_refuses_both_bounds_says_why(server: ScriptedServer) -> None:
    server.by_request = refusing(*BOUNDS, status=400, form="'{}' is too large: the context has 300 tokens")
    [seen] = look(agent(server), image(1))
    assert "is too large: the context has 300 tokens" in str(seen.error)
    assert len(server.requests) == 2
    server.by_request = None
    server.replies = [chat(says("rust"))]
    assert look(agent(server), image(2))[0].label == "rust"


def test_a_server_that_ignores_a_bound_is_told_by_the_other(server: ScriptedServer) -> None:
    server.by_request = lambda request: chat(
        says("rust"), tokens=(100, 50 if "max_completion_tokens" in request else 9000)
    )
    qwen = agent(server, max_tokens=60)
    look(qwen, image(1))
    look(qwen, image(2))
    assert [[name for name in BOUNDS if name in request] for request in server.requests] == [[name] for name in BOUNDS]


def test_a_bound_that_is_set_is_the_one_that_is_sent(server: ScriptedServer) -> None:
    server.replies = [chat(says("rust"))]
    look(agent(server, limit_field="max_completion_tokens"), image(1))
    look(agent(server, extra_body={"max_tokens": 50}), image(2))
    sent = [{name: request[name] for name in BOUNDS if name in request} for request in server.requests]
    assert sent == [{"max_completion_tokens": 400}, {"max_tokens": 50}]


@pytest.mark.parametrize(
    ("address", "bound"),
    [
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("https://me.openai.azure.com/openai/v1", "max_completion_tokens"),
        ("https://openai.com.example.org/v1", "max_tokens"),
        ("http://localhost:11434/v1", "max_tokens"),
    ],
)
def test_what_is_tried_first(address: str, bound: str) -> None:
    assert AcceptedOptions(address).request({"max_completion_tokens": 7}) == {bound: 7}


def test_options_that_an_answer_can_do_without_are_left_out(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.by_request = refusing("temperature", "response_format", "max_tokens", status=400)
    assert look(agent(server), image(1))[0].label == "rust"
    assert len(server.requests) == 4
    assert "temperature" not in server.requests[-1]
    assert server.requests[-1]["max_completion_tokens"] == 400
    assert "does not take the option 'temperature', which is left out" in caplog.text


def test_an_option_that_the_user_adds_is_never_left_out(server: ScriptedServer) -> None:
    server.by_request = refusing("temperature", status=400)
    [seen] = look(agent(server, extra_body={"temperature": 0.3}), image(1))
    assert "status 400: temperature: Extra inputs" in str(seen.error)
    assert len(server.requests) == 1


def test_samples_are_asked_for_one_by_one_where_n_is_refused(server: ScriptedServer) -> None:
    server.by_request = refusing("n", form="n: only 1 is supported", status=400)
    [seen] = look(agent(server, confidence="sampled", samples=3), image(1))
    assert seen.probabilities == pytest.approx({"healthy": 1 / 12, "rust": 10 / 12, "scab": 1 / 12})


def test_a_key_that_is_refused_teaches_nothing(server: ScriptedServer) -> None:
    server.replies = [Scripted({"error": "no temperature with this key"}, 401)]
    assert "status 401" in str(look(agent(server), image(1))[0].error)
    assert len(server.requests) == 1


def taking(most: int, words: str, status: int = 400) -> Any:
    """Return a server that takes so many pictures in a request."""

    def answer(request: dict[str, Any]) -> Scripted:
        if len(pictures(request)) > most:
            return Scripted({"object": "error", "message": words.format(most)}, status)
        return chat(says("scab", rationale="like the cases"))

    return answer


@pytest.mark.parametrize(
    "words",
    [
        "At most {} image(s) may be provided in one request.",
        "You set image={} (or defaulted to 1) in `--limit-mm-per-prompt`, but passed 4 image items in the same prompt.",
        "Too many images provided. This model supports up to {} images.",
        "This model only supports one image",
        "multiple images are not supported",
    ],
)
def test_a_server_of_one_picture_gets_one_numbered_sheet(server: ScriptedServer, words: str) -> None:
    server.by_request = taking(1, words)
    qwen = agent(server)
    seen = again(qwen, [FIRST, FIRST], [evidence("scab", "rust", "scab")] * 2)
    assert [prediction.label for prediction in seen] == ["scab", "scab"]
    sheets = [pictures(request) for request in server.requests if len(pictures(request)) == 1]
    assert len(sheets) == 2
    sheet = np.asarray(sheets[0][0]).astype(int)
    assert (np.abs(sheet - 200) < 8).all(axis=2).sum() > 40 * 60 * 0.8  # the image, and below it the three cases
    assert sheet.shape[0] > 2 * 28 + 40 + 28
    lines = texts(server.requests[-1])
    assert "a sheet of 4 pictures" in lines[1]
    assert 'Case 1, labelled "scab", similarity 0.90:' in lines
    assert "(That is picture 2 on the sheet.)" in lines
    server.requests.clear()
    again(agent(server, name="later"), [FIRST], [evidence("scab", "rust")])
    assert len(server.requests) == 1  # it is kept


def test_a_server_of_a_few_pictures_gets_the_image_and_a_sheet_of_the_cases(server: ScriptedServer) -> None:
    server.by_request = taking(3, "Too many images provided. This model supports up to {} images.")
    assert again(agent(server), [FIRST], [evidence("scab", "rust", "scab")])[0].label == "scab"
    assert [len(pictures(request)) for request in server.requests] == [4, 2]
    assert pictures(server.requests[1])[0].size == (60, 40)
    assert "This picture is a sheet of 3 pictures" in " ".join(texts(server.requests[1]))


def test_what_was_found_out_is_part_of_the_settings_that_a_panel_keeps(server: ScriptedServer) -> None:
    server.by_request = taking(1, "At most {} image(s) may be provided in one request.")
    qwen = agent(server)
    again(qwen, [FIRST], [evidence("scab", "rust")])
    kept = settings_of(qwen)
    assert isinstance(kept, VlmSettings)
    assert kept.pictures_a_request == 1
    assert reached(kept, qwen.settings) == qwen.settings  # the same entry as before still fits


def test_a_number_of_pictures_that_is_set_is_not_found_out_anew(server: ScriptedServer) -> None:
    server.by_request = taking(1, "At most {} image(s) may be provided in one request.")
    assert again(agent(server, pictures_a_request=1), [FIRST], [evidence("scab", "rust")])[0].label == "scab"
    assert len(server.requests) == 1


def test_a_server_without_eyes_is_no_server_of_one_picture(server: ScriptedServer) -> None:
    server.replies = [Scripted({"message": "At most 0 image(s) may be provided in one request."}, 400)]
    assert "At most 0 image(s)" in str(again(agent(server), [FIRST], [evidence("scab")])[0].error)
    assert len(server.requests) == 1
