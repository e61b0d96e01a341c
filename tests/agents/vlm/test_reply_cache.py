"""The cache of replies: a rerun asks nothing, whatever decides an answer is in the key, and the file stays bounded."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consilience.agents import ReplyCache
from consilience.core.errors import AgentError
from consilience.core.prediction import Prediction
from consilience.core.task import PromptOverride
from consilience.prompts import load_prompt
from tests.support.scripted_server import Scripted, ScriptedServer, chat, logprobs, says
from tests.support.vlm_cases import TASK, again, agent, evidence, image, look

RUST = Prediction(
    "qwen", probabilities={"rust": 0.75, "scab": 0.25}, rationale="spots", cost_usd=0.5, tokens=7, prompt="look 1"
)


@pytest.fixture
def cache(tmp_path: Path) -> ReplyCache:
    return ReplyCache(tmp_path / "folder" / "replies.sqlite")


def keep(cache: ReplyCache, *keys: str, prediction: Prediction = RUST) -> None:
    for key in keys:
        cache.put(key, "tiny", f"image of {key}", prediction)


def test_what_is_kept_comes_back_as_it_was(cache: ReplyCache) -> None:
    assert cache.get("a") is None
    keep(cache, "a")
    assert cache.get("a") == RUST
    assert ReplyCache(cache.path).get("a") == RUST


def test_failures_are_not_kept(cache: ReplyCache) -> None:
    keep(cache, "a", prediction=Prediction("qwen", error="status 500"))
    assert (cache.get("a"), len(cache)) == (None, 0)


def test_it_can_be_inspected_and_cleared(cache: ReplyCache) -> None:
    keep(cache, "a", "b")
    keep(cache, "c", prediction=Prediction("qwen", "second", abstained=True, prompt="look 1"))
    cache.get("a")
    assert [
        (entry.key, entry.model, entry.prompt, entry.image, entry.stage, entry.label) for entry in cache.entries()
    ] == [
        ("b", "tiny", "look 1", "image of b", "first", "rust"),
        ("c", "tiny", "look 1", "image of c", "second", None),
        ("a", "tiny", "look 1", "image of a", "first", "rust"),
    ]
    assert len(cache) == 3
    assert 0 < sum(entry.bytes for entry in cache.entries()) < cache.size_bytes
    cache.clear()
    assert (len(cache), cache.entries(), cache.get("a")) == (0, [], None)


def test_beyond_the_bound_the_longest_unused_go(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "replies.sqlite", max_bytes=200_000)
    large = Prediction("qwen", abstained=True, raw="x" * 2000)
    keep(cache, "loved", prediction=large)
    for i in range(100):
        keep(cache, f"{i}", prediction=large)
        assert cache.get("loved") is not None
    assert 20 < len(cache) < 90
    assert cache.get("0") is None
    assert cache.get("99") == large
    assert cache.size_bytes <= 200_000
    assert cache.path.stat().st_size < 300_000


def test_one_answer_that_is_too_large_is_not_kept(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "replies.sqlite", max_bytes=50_000)
    keep(cache, "a", prediction=Prediction("qwen", abstained=True, raw="x" * 100_000))
    assert len(cache) == 0


def test_threads_and_processes_share_it(cache: ReplyCache) -> None:
    program = """
import sys
from pathlib import Path
from consilience.agents import ReplyCache
from consilience.core.prediction import Prediction
from consilience.prompts import load_prompt
from consilience.core.task import PromptOverride
cache = ReplyCache(Path(sys.argv[1]))
for i in range(40):
    cache.put(f"{sys.argv[2]} {i}", "tiny", "image", Prediction("qwen", abstained=True))
    assert cache.get(f"{sys.argv[2]} {i}") is not None
"""
    command = [sys.executable, "-c", program, str(cache.path)]
    others = [subprocess.Popen([*command, name]) for name in ("p", "q")]
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(keep, cache, *(f"{name} {i}" for i in range(40))) for name in "abcd"]:
            done.result()
    assert [other.wait() for other in others] == [0, 0]
    assert len(cache) == 240


def test_a_forked_process_opens_its_own(cache: ReplyCache) -> None:
    keep(cache, "parent")
    child = os.fork()
    if child == 0:
        keep(cache, "child")
        os._exit(0 if cache.get("parent") == RUST else 1)
    assert os.waitpid(child, 0)[1] == 0
    keep(cache, "parent again")
    assert {entry.key for entry in cache.entries()} == {"parent", "child", "parent again"}


@pytest.mark.parametrize("content", [b"notes, as long as a file may be" * 9, b"SQLite format 3\0 but damaged" * 50])
def test_another_file_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(AgentError, match=r"notes\.txt' cannot be used"):
        ReplyCache(path)
    assert path.read_bytes() == content


def test_another_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (x)")
    other.close()
    content = path.read_bytes()
    with pytest.raises(AgentError, match="is no reply cache of format 1"):
        ReplyCache(path)
    assert path.read_bytes() == content


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AgentError, match="cannot be used"):
        ReplyCache(tmp_path / "file" / "replies.sqlite")


def test_a_cache_that_is_damaged_later_is_logged_and_does_not_stop_a_look(
    server: ScriptedServer, cache: ReplyCache, caplog: pytest.LogCaptureFixture
) -> None:
    server.replies = [chat(says("rust"))]
    with sqlite3.connect(cache.path) as database:
        database.execute("DROP TABLE answers")
    database.close()
    with caplog.at_level(logging.WARNING):
        assert look(agent(server, cache), image(1))[0].label == "rust"
    assert "could not be read" in caplog.text
    assert "could not be written" in caplog.text


def test_an_entry_that_is_damaged_counts_as_not_kept(cache: ReplyCache) -> None:
    keep(cache, "a")
    with sqlite3.connect(cache.path) as database:
        database.execute("UPDATE answers SET prediction = '{}'")
    database.close()
    assert cache.get("a") is None


def test_a_rerun_asks_nothing_and_says_the_same(server: ScriptedServer, cache: ReplyCache) -> None:
    server.replies = [chat("what?"), chat(says("rust")), chat(says("unsure")), chat(says("scab"))]
    settings = {"price_per_million_input_tokens": 5.0}
    first = [look(agent(server, cache, **settings), image(i))[0] for i in (1, 2)]
    second = again(agent(server, cache, **settings), first[:1], [evidence("scab")])
    assert [prediction.label for prediction in (*first, *second)] == ["rust", None, "scab"]
    asked = len(server.requests)
    server.replies = [Scripted({}, 500)]
    assert look(agent(server, cache, **settings), image(1), image(2)) == [
        replace(prediction, cached=True) for prediction in first
    ]
    assert again(agent(server, cache, **settings), first[:1], [evidence("scab")]) == [replace(second[0], cached=True)]
    assert len(server.requests) == asked


def test_a_failure_is_asked_again(server: ScriptedServer, cache: ReplyCache) -> None:
    server.replies = [Scripted({}, 500), chat(says("rust"))]
    assert look(agent(server, cache), image(1))[0].error is not None
    assert look(agent(server, cache), image(1))[0].label == "rust"


def test_another_name_for_the_same_model_shares_the_answers(server: ScriptedServer, cache: ReplyCache) -> None:
    server.replies = [chat(says("rust"))]
    look(agent(server, cache), image(1))
    [seen] = look(agent(server, cache, name="other"), image(1))
    assert (seen.agent, len(server.requests)) == ("other", 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"model": "other"},
        {"temperature": 0.5},
        {"max_tokens": 300},
        {"image_side": 30},
        {"image_detail": "low"},
        {"structured": "none"},
        {"extra_body": {"seed": 1}},
        {"confidence": "sampled", "samples": 2},
        {"confidence": "logprob"},
    ],
)
def test_whatever_decides_an_answer_is_in_the_key(
    server: ScriptedServer, cache: ReplyCache, settings: dict[str, Any]
) -> None:
    both = [chat(says("rust"))]
    server.replies = both
    look(agent(server, cache), image(1))
    listed = logprobs(("rust", [("rust", 0.0)]))
    server.replies = [chat("rust", logprobs=listed)] if settings.get("confidence") == "logprob" else both
    asked = len(server.requests)
    look(agent(server, cache, **settings), image(1))
    assert len(server.requests) > asked
    assert len(cache) == 2


def test_the_words_the_image_and_the_evidence_are_in_the_key(server: ScriptedServer, cache: ReplyCache) -> None:
    own_words = {"look": PromptOverride(version=2, texts={"system": load_prompt("look").texts["system"]})}
    server.replies = [chat(says("rust"))]
    first = [Prediction("qwen", probabilities={"healthy": 0.0, "rust": 1.0, "scab": 0.0})]
    look(agent(server, cache), image(1))
    look(agent(server, cache), image(2))
    look(agent(server, cache), image(1), task=TASK.model_copy(update={"prompts": own_words}))
    again(agent(server, cache), first, [evidence("scab")])
    again(agent(server, cache), first, [evidence("rust")])
    again(agent(server, cache, neighbours_shown=0), first, [evidence("rust")])
    assert len(server.requests) == len(cache) == 6
    assert {entry.prompt for entry in cache.entries()} == {
        "look 1, repair 1",
        "look 2, repair 1",
        "look 1, second-look 3, repair 1",
    }
