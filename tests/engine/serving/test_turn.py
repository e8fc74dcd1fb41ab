"""Natural batching: who arrives together is answered together, and nobody waits for company."""

import asyncio
from collections.abc import Sequence

import pytest

from engine.serving.turn import Turns

pytestmark = pytest.mark.anyio


class _Doubling:
    """Answers questions with their doubles, and remembers who was asked together."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, questions: Sequence[int]) -> list[int]:
        self.seen.append([*questions])
        await self.gate.wait()
        if 0 in questions:
            raise ValueError("nothing is asked")
        return [2 * question for question in questions]


async def test_questions_of_one_turn_are_answered_as_one_each_with_its_own() -> None:
    turns, double = Turns[int, int](), _Doubling()
    found = await asyncio.gather(*(turns.ask("key", n, double) for n in range(1, 17)))
    assert found == [2 * n for n in range(1, 17)]
    assert double.seen == [list(range(1, 17))]


async def test_one_caller_at_a_time_waits_for_nobody() -> None:
    turns, double = Turns[int, int](), _Doubling()
    assert [await turns.ask("key", n, double) for n in (1, 2, 3)] == [2, 4, 6]
    assert double.seen == [[1], [2], [3]]


async def test_what_has_other_terms_is_asked_apart() -> None:
    turns, double = Turns[int, int](), _Doubling()
    await asyncio.gather(*(turns.ask(n % 2, n, double) for n in range(1, 7)))
    assert sorted(map(sorted, double.seen)) == [[1, 3, 5], [2, 4, 6]]


async def test_while_one_turn_is_answered_the_next_one_gathers() -> None:
    turns, double = Turns[int, int](), _Doubling()
    double.gate.clear()
    asks = []
    for number in (1, 2, 3):
        asks.append(asyncio.create_task(turns.ask("key", number, double)))
        await asyncio.sleep(0.01)
    assert double.seen == [[1]]
    double.gate.set()
    assert await asyncio.gather(*asks) == [2, 4, 6]
    assert double.seen == [[1], [2, 3]]


async def test_what_fails_fails_for_all_of_its_turn_and_not_for_the_next() -> None:
    turns, double = Turns[int, int](), _Doubling()
    found = await asyncio.gather(
        *(turns.ask("key", n, double) for n in (0, 1)), return_exceptions=True
    )
    assert [str(one) for one in found] == ["nothing is asked"] * 2
    assert await turns.ask("key", 4, double) == 8


async def test_a_caller_who_gives_up_takes_nobody_along() -> None:
    turns, double = Turns[int, int](), _Doubling()
    double.gate.clear()
    gone, stays = (asyncio.create_task(turns.ask("key", n, double)) for n in (1, 2))
    await asyncio.sleep(0)
    gone.cancel()
    double.gate.set()
    assert await stays == 4
    with pytest.raises(asyncio.CancelledError):
        await gone
