"""Few edges a feature, made from the features alone."""

import numpy as np
import pytest

from engine.domain.schema import Vector
from engine.learning.bins import coded, edge_at, edges_of

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=5_000)
MOSTLY_ZERO = np.where(RNG.random(5_000) < 0.9, 0.0, NORMAL)


def edges_of_one(values: Vector) -> Vector:
    return edges_of(values[:, None])[0]


@pytest.mark.parametrize("values", [NORMAL, MOSTLY_ZERO, np.exp(20 * NORMAL), np.arange(256.0)])
def test_many_values_share_255_bins_and_each_bin_holds_some(values: Vector) -> None:
    edges = edges_of_one(values)
    codes = coded(values[:, None], [edges])[:, 0]
    assert len(edges) <= 254
    assert (np.diff(edges) > 0).all()
    assert set(codes) == set(range(len(edges) + 1))


def test_no_bin_of_many_different_values_holds_many_rows() -> None:
    sizes = np.bincount(coded(NORMAL[:, None], [edges_of_one(NORMAL)])[:, 0].astype(int))
    assert sizes.max() <= 2 * len(NORMAL) / 190


def test_the_few_rows_at_the_ends_are_told_apart_more_finely() -> None:
    """A hundredth of the rows has more than a hundredth of the bins, and a lone one has its own."""
    values = np.append(np.exp(NORMAL), 1e6)
    codes = coded(values[:, None], [edges_of_one(values)])[:, 0]
    assert len(set(codes[values > np.quantile(values, 0.99)])) > 8
    assert (codes == codes[-1]).sum() == 1


def test_few_values_are_told_apart_by_edges_in_the_middle_between_them() -> None:
    assert edges_of_one(np.array([3.0, 0.0, 1.0, np.nan, 3.0])).tolist() == [0.5, 2.0]


@pytest.mark.parametrize("high", [1.0, np.nextafter(1.0, 2.0), 1e300])
def test_values_that_are_next_to_each_other_are_told_apart_too(high: float) -> None:
    values = np.array([np.nextafter(high, 0.0), high, np.finfo(float).max, -high])
    codes = coded(values[:, None], [edges_of_one(values)])[:, 0]
    assert codes.tolist() == [1, 2, 3, 0]


def test_a_value_on_an_edge_is_in_the_lower_bin_and_what_is_missing_stays_missing() -> None:
    edges = [np.array([0.5, 2.0])]
    rows = np.array([[0.5], [0.6], [2.0], [2.1], [np.inf], [-np.inf], [np.nan]])
    assert np.array_equal(coded(rows, edges)[:, 0], [0, 1, 1, 2, 2, 0, np.nan], equal_nan=True)


def test_a_feature_of_one_value_or_of_none_has_no_edge() -> None:
    assert not len(edges_of_one(np.ones(9)))
    assert not len(edges_of_one(np.full(9, np.nan)))


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 1.0, 1.5, np.inf])
def test_a_threshold_among_codes_becomes_the_edge_that_splits_values_alike(
    threshold: float,
) -> None:
    edges = [np.array([0.5, 2.0])]
    values = np.array([[-1.0], [0.5], [0.6], [2.0], [2.1]])
    goes_left = coded(values, edges) <= threshold
    assert np.array_equal(goes_left, values <= edge_at(0, threshold, edges))
