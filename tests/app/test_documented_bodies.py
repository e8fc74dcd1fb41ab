"""A body that /openapi.json allows is not refused as a body: the document is as strict as the
service, as far as JSON Schema can say it. What it says in words is kept here by hand."""

import json
import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cli.server import serving
from engine.assemble import open_stores
from engine.domain.version import Version
from tests.contracts.test_problems import EVERY
from tests.trained import folder_of_run, home_with, settings_of

Bodies = st.SearchStrategy[Any]
KEY = "right" * 5
MOST_ITEMS = 3
CANDIDATES = ("v1.1.0-rc.1", "v1.1.0-rc.2", "v1.1.0-rc.3")
PATHS = ("predict", "predict/batch", "feedback", "model/load", "deployment")
ROUTES = [
    f"/v1/{name}/{path}"
    for name, problem in EVERY.items()
    for path in PATHS
    if "batch" not in path or len(problem.contracts) == 2
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A champion of every problem, and candidates that are the same under other names."""
    run = folder_of_run(tmp_path_factory)
    folder = home_with(list(EVERY.values()), run, tmp_path_factory.mktemp("bodies"))
    for name in EVERY:
        stores = open_stores(settings_of(folder, name), name)
        for candidate in CANDIDATES:
            stores.artifacts.save(stores.champion.load().named(Version.parse(candidate)))
    return folder


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[httpx.Client]:
    """Asks a real server that serves all problems."""
    environment = {
        "SERVE": ",".join(EVERY),
        "DATA_DIR": str(home / "data"),
        "MODEL_PATH": f"{home}/{{problem}}_model.joblib",
        "ADMIN_API_KEY": KEY,
        "MODEL_POLL_SECONDS": "60",
    }
    headers = {"Content-Type": "application/json", "X-API-Key": KEY}
    with serving(environment) as url, httpx.Client(base_url=url, headers=headers) as client:
        yield client


@cache
def document_of(client: httpx.Client) -> Any:
    return client.get("/openapi.json").json()


@pytest.mark.slow
@pytest.mark.parametrize("path", ROUTES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_what_the_document_allows_is_not_refused_as_a_body(
    client: httpx.Client, path: str, data: st.DataObject
) -> None:
    document = document_of(client)
    method, operation = next(
        (method, one) for method, one in document["paths"][path].items() if "requestBody" in one
    )
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    is_allowed = Draft202012Validator({**schema, "components": document["components"]}).is_valid
    body = data.draw(drawn(schema, document).filter(is_allowed).filter(is_meant))
    reply = client.request(method, path, content=json.dumps(body))
    assert reply.status_code not in {400, 422}, reply.json()["detail"]


def is_meant(body: Any) -> bool:
    """What JSON Schema cannot say: each version once, and the champion keeps a share."""
    variants = body.get("variants", [])
    versions = [one["model_version"] for one in variants]
    shares = sum(one.get("share", 0) for one in variants)
    return len(set(versions)) == len(versions) and shares < 0.999


def drawn(schema: Any, document: Any) -> Bodies:
    """Values that a schema allows, those at its borders often."""
    if "$ref" in schema:
        return drawn(document["components"]["schemas"][schema["$ref"].split("/")[-1]], document)
    for several in ("anyOf", "oneOf"):
        if several in schema and "properties" not in schema:
            return st.one_of([drawn(one, document) for one in schema[several]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "type" not in schema:
        return st.none() | st.integers(-9, 9) | st.text(max_size=9) | st.lists(st.booleans())
    return OF_TYPE[schema["type"]](schema, document)


def objects(schema: Any, document: Any) -> Bodies:
    fields = {name: field(name, one, document) for name, one in schema["properties"].items()}
    required = {name: fields.pop(name) for name in schema.get("required", ())}
    return st.fixed_dictionaries(required, optional=fields)


def field(name: str, schema: Any, document: Any) -> Bodies:
    if name == "model_version" and "anyOf" not in schema:
        return st.sampled_from(CANDIDATES)  # of a version that there is not no more is looked at
    found = drawn(schema, document)
    if name == "known_at":
        return found.filter(lambda text: text < "2026")  # no time to come, as it says in words
    return found


def arrays(schema: Any, document: Any) -> Bodies:
    most = min(schema["maxItems"], MOST_ITEMS)
    items = drawn(schema["items"], document)
    return st.lists(items, min_size=schema.get("minItems", 0), max_size=most)


def strings(schema: Any, _: Any) -> Bodies:
    least, most = schema.get("minLength", 0), schema.get("maxLength", 100)
    if "pattern" not in schema:
        return st.text(min_size=least, max_size=most)
    matching = st.from_regex(re.compile(schema["pattern"], re.ASCII), fullmatch=True)
    return matching.filter(lambda text: least <= len(text) <= most)


def numbers(schema: Any, _: Any) -> Bodies:
    low, high = schema["minimum"], schema.get("maximum", schema.get("exclusiveMaximum"))
    whole = st.integers(math.ceil(low), math.floor(high))
    if "multipleOf" in schema or schema["type"] == "integer":
        return whole | whole.map(float)
    return whole | st.floats(low, high) | st.sampled_from([low, high])


OF_TYPE: dict[str, Callable[[Any, Any], Bodies]] = {
    "object": objects,
    "array": arrays,
    "string": strings,
    "number": numbers,
    "integer": numbers,
    "boolean": lambda *_: st.booleans(),
    "null": lambda *_: st.none(),
}
