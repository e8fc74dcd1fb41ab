"""What a service holds when it starts is nothing the garbage collector looks at again."""

import gc

from app.main import _left_alone_by_the_collector


def test_what_is_there_when_a_service_starts_is_left_alone_until_it_ends() -> None:
    before = gc.get_freeze_count()
    with _left_alone_by_the_collector():
        assert gc.get_freeze_count() > before + 10_000
    assert gc.get_freeze_count() == 0
