"""In what form a route of many rows takes them and answers: by Content-Type and Accept."""

from collections.abc import Callable, Mapping
from functools import partial

from fastapi import Request

from app.body import JSON, is_json, media_type_of
from engine.domain.errors import NotAcceptable
from engine.domain.problem import Contract, Problem, TableForm
from engine.domain.table import ReplyTable, Table
from engine.protocols import arrow_stream, csv_table
from engine.serving.columnar import TableReader
from engine.serving.reading import Reader
from engine.settings import Settings

_WRITERS: Mapping[str, Callable[[ReplyTable], bytes] | None] = {
    JSON: None,
    csv_table.MEDIA_TYPE: csv_table.write_csv,
    arrow_stream.MEDIA_TYPE: arrow_stream.write_arrow,
}
_DECODERS: Mapping[str, Callable[..., Table]] = {
    csv_table.MEDIA_TYPE: csv_table.read_csv,
    arrow_stream.MEDIA_TYPE: arrow_stream.read_arrow,
}


def most_rows_of(form: TableForm, settings: Settings) -> int:
    """How many rows a table of a route may have."""
    return min(settings.max_columnar_rows, form.most_rows)


class Formats:
    """Of one route."""

    def __init__(self, problem: Problem, contract: Contract, settings: Settings) -> None:
        form = contract.table
        self.bodies = tuple(_DECODERS) if form is not None else ()
        self._readers: dict[tuple[str, str], Reader] = {}
        if form is None:
            return
        most = most_rows_of(form, settings)
        reader = TableReader(
            contract, form, problem.schema, most, most_in_batch=settings.max_batch_size
        )
        for reply, write in _WRITERS.items():
            self._readers[JSON, reply] = reader.of_json(write)
            for body, decode in _DECODERS.items():
                table = partial(decode, problem.schema, most)
                self._readers[body, reply] = reader.of_tables(table, write)

    def choose(self, request: Request) -> tuple[Reader | None, str]:
        """What reads the body, by default as rows, and the media type of the reply.

        Raises NotAcceptable.
        """
        if not self._readers:
            return None, JSON
        reply = _accepted([v for name, v in request.scope["headers"] if name == b"accept"])
        body = media_type_of(request)
        return self._readers.get((JSON if is_json(body) else body, reply)), reply


def _accepted(headers: list[bytes]) -> str:
    """The one that is preferred; JSON where it is all the same."""
    text = b",".join(headers).decode("latin-1").strip()
    if not text or text == "*/*":
        return JSON
    ranges = [_range(one) for one in text.split(",") if one.strip()]
    found = {media_type: _preference(media_type, ranges) for media_type in _WRITERS}
    best = max(found, key=lambda media_type: found[media_type])
    if found[best][0] <= 0:
        raise NotAcceptable(f"this route answers as {', '.join(_WRITERS)}; accept one of these")
    return best


def _range(text: str) -> tuple[str, float]:
    """A media range and its weight; a weight that is no number counts as 1."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    weight = next((one[2:] for one in parameters if one.startswith("q=")), "1")
    try:
        return name, float(weight)
    except ValueError:
        return name, 1.0


def _preference(media_type: str, ranges: list[tuple[str, float]]) -> tuple[float, int, int]:
    """The weight of the most specific range that holds a type, how specific that is, and how early
    it was named."""
    whole = media_type.partition("/")[0] + "/*"
    exact = {media_type: 2, whole: 1, "*/*": 0}
    found = [
        (exact[name], -place, weight)
        for place, (name, weight) in enumerate(ranges)
        if name in exact
    ]
    if not found:
        return 0.0, 0, 0
    specific, place, weight = max(found)
    return weight, specific, place
