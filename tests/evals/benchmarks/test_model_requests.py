"""The benchmark of requests counts on a real server: how many, how many at once, and none for what is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.request import Request, urlopen

import pytest

from consilience.evals.benchmarks.speed.model_requests import (
    ANSWER,
    REQUESTS_AT_ONCE,
    SHARES,
    Bench,
    bench,
    measured,
    models,
)
from consilience.evals.benchmarks.speed.slow_server import Counts, slow_server


@pytest.fixture(scope="module")
def material() -> Iterator[Bench]:
    with bench(4) as made:
        yield made


def test_the_server_counts_requests_and_how_many_are_there_at_once() -> None:
    with slow_server(0.3, ANSWER) as server:

        def ask(_: int) -> str:
            request = Request(f"{server.base_url}/chat/completions", b"{}")  # noqa: S310  our own address
            with urlopen(request) as reply:  # noqa: S310
                return str(json.load(reply)["choices"][0]["message"]["content"])

        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(ask, range(3))) == [ANSWER] * 3
        together = server.counts()
        assert together.requests == 3
        assert 1 <= together.most_at_once <= 3
        assert [ask(0), ask(1)] == [ANSWER] * 2
        assert server.counts() == Counts(requests=2, most_at_once=1)
        assert server.counts() == Counts()


@pytest.mark.slow
def test_requests_are_measured_end_to_end(material: Bench) -> None:
    figures = {figure.what.strip(): figure for figure in measured(material, 0.01, turns=1, few=1)}
    with slow_server(0.01, ANSWER) as server:
        material.diagnose_all(models(server, SHARES))
        assert server.counts().requests == 12  # a look of three models at four images
        material.ask_in_sequence(models(server, SHARES), 2)
        assert server.counts() == Counts(requests=6, most_at_once=1)
    assert list(figures["requests of a first run"].values) == [12]
    assert figures["requests of a rerun"].met
    assert figures["most requests at once that the server saw"].met
    assert figures["L = 0.01 s: s, one image"].most == pytest.approx(0.031)


def test_the_models_share_the_server() -> None:
    assert sum(SHARES) == REQUESTS_AT_ONCE
    with slow_server(0.0, ANSWER) as server:
        assert [model.settings.concurrency for model in models(server, SHARES)] == [*SHARES]


@pytest.mark.slow
def test_an_answer_that_is_missing_is_an_error(material: Bench) -> None:
    with slow_server(0.0, "no answer") as server, pytest.raises(RuntimeError, match="an answer is missing"):
        material.diagnose_all(models(server, SHARES))
