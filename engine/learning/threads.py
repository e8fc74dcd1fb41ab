"""How many threads estimators use: one.

The libraries below scikit-learn (OpenMP, BLAS) start a thread for every core. On tables that are
learned from here those threads wait for each other longer than they work. A forest has `n_jobs=1`
for the same reason. For a table large enough to gain from more, raise the number here.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Whatever is fitted or asked inside uses one thread, with or without OMP_NUM_THREADS."""
    with threadpool_limits(limits=1):
        yield
