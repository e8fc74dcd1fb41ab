"""Latencies are compared within a round: a busy machine slows both models down."""

import numpy as np

from engine.learning.challenge import _typical


def test_a_machine_that_is_slow_half_of_the_time_slows_no_model_down_alone() -> None:
    speeds = np.repeat([1.0, 2.0], [501, 500])
    times = np.column_stack([speeds, 1.08 * speeds])
    times[498:501, 1] *= 2
    assert np.median(times, axis=0).tolist() == [1.0, 2.16]
    assert np.allclose(_typical(times), [1.0, 1.08])


def test_a_model_that_is_slower_is_said_to_be() -> None:
    times = np.random.default_rng(0).uniform(1, 2, (1_000, 1)) * [1.0, 1.5]
    old, new = _typical(times)
    assert np.isclose(new / old, 1.5)
    assert np.isclose(old, np.median(times[:, 0]))
