"""What a body asks and how the reply is written: JSON rows, unless another pair is named."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import orjson
from pydantic import TypeAdapter

from engine.domain.answer import Answer
from engine.domain.prediction import Entities
from engine.domain.problem import Contract
from engine.serving.validation import validate


class Asked(NamedTuple):
    """What a body asks about, and what writes the bytes of the reply."""

    entities: Entities
    write: Callable[[Answer], bytes]


Reader = Callable[[bytes], Asked]
"""Raises MalformedBody, or InvalidInput naming every broken rule."""


def read_rows(contract: Contract, body_type: TypeAdapter[Any], body: bytes) -> Asked:
    """A body of JSON as the contract has it."""
    said = validate(body_type, body)
    return Asked(contract.entities(said), partial(_write_rows, contract, said))


def _write_rows(contract: Contract, said: Any, answer: Answer) -> bytes:
    return orjson.dumps(contract.answer(answer, said))
