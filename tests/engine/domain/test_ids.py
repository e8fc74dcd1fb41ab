"""Random names: no two alike, whoever takes them and however many."""

from concurrent.futures import ThreadPoolExecutor

from engine.domain.ids import RandomNames


def test_names_are_as_long_as_they_should_be_and_never_repeat() -> None:
    names = RandomNames()
    found = [names.take(size) for size in (10, 16, 16) for _ in range(2_000)]
    assert {len(name) for name in found} == {20, 32}
    assert len(set(found)) == len(found)


def test_threads_never_get_the_same_name() -> None:
    names = RandomNames()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: names.take(8), range(20_000)))
    assert len(set(found)) == len(found)
