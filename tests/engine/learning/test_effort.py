"""What a model costs at each request is chosen when it is trained, and its card says so."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from engine.domain.artifact import Artifact, ModelCard
from engine.domain.effort import BEST, FAST, Effort
from engine.domain.kinds import POSITIVE, TargetKind
from engine.domain.version import FIRST
from engine.learning.estimators import Candidate
from engine.learning.kinds import LEARNERS
from engine.learning.train import Origin, train
from engine.tables.split import split
from problems.housing import HOUSING
from tests.conftest import market

LEAVES_A_WORD = 64
MOST_WORDS = 170


def trained(effort: Effort) -> Artifact:
    rows, candidate = market(1_500, seed=6), LEARNERS[POSITIVE].candidates[effort][0]
    return train(
        HOUSING,
        rows,
        split(rows, 0),
        candidate=candidate,
        origin=Origin(FIRST, "2026-01-01T00:00:00Z", 0, effort),
        tell=lambda step: None,
    )


def words_of(graph: bytes) -> int:
    """Bits that tell leaves apart, in words of 64, over all trees."""
    return int(np.ceil(leaves_of(graph) / LEAVES_A_WORD).sum())


def leaves_of(graph: bytes) -> NDArray[np.int64]:
    """A tree has one leaf more than inner nodes, and trees stand one after another."""
    node = next(node for node in onnx.load_from_string(graph).graph.node if node.domain)
    found = {attribute.name: attribute for attribute in node.attribute}
    inner = len(found["nodes_featureids"].ints)
    return np.diff([*found["tree_roots"].ints, inner]) + 1


def test_a_fast_model_has_few_words_to_ask_and_the_best_three_times_as_many() -> None:
    fast, best = (trained(effort) for effort in (FAST, BEST))
    assert (fast.card.effort, best.card.effort) == (FAST, BEST)
    assert words_of(fast.graph) <= MOST_WORDS
    assert words_of(best.graph) >= 3 * words_of(fast.graph)


@pytest.mark.parametrize("kind", TargetKind)
def test_no_fast_candidate_has_more_trees_or_larger_ones_for_the_location(kind: TargetKind) -> None:
    """A forest, too, which left to itself has thousands of leaves."""
    for candidate in LEARNERS[kind].candidates[FAST]:
        assert most_words(candidate) <= 100


def most_words(candidate: Candidate) -> int:
    """Of the trees that tell the location."""
    folds = 1 if candidate.size.is_refitted else candidate.size.folds
    asked = [estimator.get_params() for estimator in candidate.members(0)]
    assert all(one["max_leaf_nodes"] <= LEAVES_A_WORD for one in asked)
    return folds * sum(int(one.get("max_iter") or one["n_estimators"]) for one in asked)


def test_an_older_card_says_nothing_and_its_model_was_as_large_as_the_best() -> None:
    facts = trained(FAST).card.model_dump(mode="json", exclude={"effort"})
    assert ModelCard(**facts).effort == BEST
