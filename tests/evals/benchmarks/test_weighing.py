"""The benchmark of weighing: its methods on agents whose answer is known, its tables and its simulated agents."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from consilience.core.errors import DatasetError
from consilience.evals.benchmarks.weighing.__main__ import main, read_answers
from consilience.evals.benchmarks.weighing.pooling_methods import METHODS, OURS, WITHOUT_TRUTH, Split, answered
from consilience.evals.benchmarks.weighing.simulated_agents import REGIMES, TRAITS, drawn_regimes, simulated
from consilience.orchestrator.ensemble.silence import SILENT


def split_of(name: str, known: int, seed: int = 0, new: int = 400) -> Split:
    raw, labels = simulated(name, known + new, seed)
    return Split.drawn(raw, labels, known, seed)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_a_distribution_also_where_answers_are_missing(name: str) -> None:
    posterior = METHODS[name](split_of("40 % missing", 40))
    assert posterior.shape == (400, 4)
    assert (posterior >= 0).all()
    np.testing.assert_allclose(posterior.sum(axis=1), 1)


@pytest.mark.parametrize("name", ["unequal", "one swaps two labels", "40 % missing"])
def test_without_a_label_agreement_is_right_as_often_as_a_vote(name: str) -> None:
    split = split_of(name, 0)
    ours, vote = (right(WITHOUT_TRUTH[method](split), split) for method in (OURS, "majority vote"))
    assert ours > vote + 0.02


@pytest.mark.parametrize("name", REGIMES)
def test_simulated_agents_state_distributions_and_are_the_same_again(name: str) -> None:
    (raw, labels), (again, _) = simulated(name, 50, 3), simulated(name, 50, 3)
    assert raw.shape == (REGIMES[name].agents, 50, REGIMES[name].labels)
    np.testing.assert_array_equal(raw, again)
    np.testing.assert_allclose(raw[answered(raw)].sum(axis=1), 1)
    assert labels.max() < REGIMES[name].labels


def test_drawn_agents_are_the_same_again_and_can_be_simulated() -> None:
    regimes = drawn_regimes(40)
    assert regimes == drawn_regimes(40)
    assert drawn_regimes(3) == dict([*regimes.items()][:3])
    assert {regime.trait for regime in regimes.values()} == set(TRAITS)
    for name, regime in regimes.items():
        raw, labels = simulated(name, 20, 0, regime)
        assert raw.shape == (regime.agents, 20, regime.labels)
        assert labels.max() < regime.labels


def right(posterior: np.ndarray, split: Split) -> float:
    return float((posterior.argmax(axis=1) == split.truth).mean())


def behind(name: str, known: int, draws: int) -> tuple[float, float]:
    """How much less often the weighing is right than its best agent, and than the same panel without one, at most.

    Means over draws: neither the best agent nor who should stay away is known from the labelled images.
    """
    alone, without = [], []
    for seed in range(draws):
        split = split_of(name, known, seed)
        fused = right(METHODS[OURS](split), split)
        agents = range(len(split.new))
        own = np.where(answered(split.new), split.new.argmax(axis=2) == split.truth, False).mean(axis=1)
        others = [
            replace(split, known=np.delete(split.known, agent, axis=0), new=np.delete(split.new, agent, axis=0))
            for agent in agents
        ]
        alone.append(own - fused)
        without.append([right(METHODS[OURS](one), one) - fused for one in others])
    return float(np.mean(alone, axis=0).max()), float(np.mean(without, axis=0).max())


@pytest.mark.parametrize("name", ["words", "one names the next label"])
def test_the_weighing_is_not_below_its_best_agent_nor_below_fewer_agents(name: str) -> None:
    best, fewer = behind(name, 60, draws=3)
    assert best <= -0.05  # independent evidence adds up
    assert fewer <= 0.01


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, regime in REGIMES.items() if regime.agents * regime.labels <= 100])
def test_no_regime_is_below_its_best_agent_nor_below_fewer_agents(name: str) -> None:
    for known, allowed in ((20, 0.02), (100, 0.01)):
        best, fewer = behind(name, known, draws=4)
        assert best <= allowed
        assert fewer <= allowed + 0.01


def test_votes_are_counted_by_hand() -> None:
    new = np.eye(3)[[[0, 0], [0, 1], [1, 2]]]  # three agents, two images
    split = Split(np.eye(3)[[[0, 1, 2]] * 3], np.array([0, 1, 2]), new, np.array([0, 1]))
    np.testing.assert_allclose(
        METHODS["majority vote"](split)[0], [(2 + 1 / 6) / 3.5, (1 + 1 / 6) / 3.5, (1 / 6) / 3.5]
    )


def test_a_table_is_read_with_what_is_missing(tmp_path: Path) -> None:
    table = tmp_path / "answers.csv"
    table.write_text(
        "image,agent,truth,label,p_scab,p_rust\n1,a,scab,rust,,\n2,a,rust,,,\n1,b,scab,scab,0.75,0.25\n2,b,rust,mildew,,\n",
        encoding="utf-8",
    )
    raw, labels = read_answers(table)
    assert labels.tolist() == [1, 0]  # rust, scab
    failed, silent = [np.nan, np.nan], [SILENT, SILENT]  # a word that is no label; a look that named nothing
    np.testing.assert_allclose(raw, np.array([[[1, 0], silent], [[0.25, 0.75], failed]]))
    table.write_text("image,agent,truth\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="hold no rows"):
        read_answers(table)


def test_the_command_prints_every_method(tmp_path: Path) -> None:
    raw, labels = simulated("words", 60, 0)
    rows = [
        f"{image},{agent},{labels[image]},{raw[agent, image].argmax()}"
        for agent in range(4)
        for image in range(len(labels))
    ]
    table = tmp_path / "words.csv"
    table.write_text("image,agent,truth,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    result = CliRunner().invoke(main, [str(table), "--labelled", "20,1000", "--draws", "2", "--each"])
    assert result.exit_code == 0, result.output
    assert "20 labelled images, 1 sets of answers, 2 draws" in result.output
    assert "1000" not in result.output
    for name in METHODS:
        assert name in result.output
