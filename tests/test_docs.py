"""The README and the code say the same: routes, settings, commands, examples."""

import json
import re
import subprocess
from pathlib import Path

import httpx
import pytest

from engine.settings import Settings
from problems.housing import HOUSING

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = section[section.index("| --- |") :].split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_setting_is_in_the_readme_with_its_default() -> None:
    written = {cells[0].strip("`"): cells[1].strip("`") for cells in table("Settings")}
    real = {name.upper(): field.default for name, field in Settings.model_fields.items()}
    assert set(written) == set(real)
    for name, default in real.items():
        if default is not None and name != "ADMIN_API_KEY":
            assert written[name] == as_written(default)


def as_written(default: object) -> str:
    """As an environment variable has it."""
    if isinstance(default, tuple):
        return ",".join(default)
    return json.dumps(default) if isinstance(default, bool | list) else str(default)


@pytest.mark.anyio
async def test_every_route_is_in_the_readme_and_every_written_one_exists(
    client: httpx.AsyncClient,
) -> None:
    written = set(re.findall(r"`(?:GET|POST) (/\S*)`", README)) | set(
        re.findall(r"`(/[a-z/-]+)`\)?", " ".join(cells[0] for cells in table("Routes")))
    )
    served = set((await client.get("/openapi.json")).json()["paths"])
    root = {path for path in served if not path.startswith("/v1/")}
    assert root <= written
    for path in written - root:
        assert (await client.get(path)).status_code != 404, path


def test_every_make_target_in_the_readme_exists_and_has_help() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = set(re.findall(r"make ([a-z-]+)", shown.stdout))
    assert set(re.findall(r"make ([a-z-]+)", README)) <= targets


def test_the_build_may_see_what_the_dockerfile_copies_and_no_more() -> None:
    shown = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copies = re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = " ".join(copies).split()
    keys = "data/trusted_key[s]"  # a glob, for there may be none
    wanted = {source.split("/")[0] for source in sources if source != keys}
    assert {*wanted, "data/trusted_keys/*.pub"} == set(shown)
    assert all(any(ROOT.glob(source)) for source in sources if source != keys)


def test_every_file_the_docs_link_to_exists() -> None:
    for document in (ROOT / "README.md", *ROOT.glob("docs/**/*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.anyio
async def test_the_first_prediction_of_the_readme_has_the_fields_it_shows(
    client: httpx.AsyncClient,
) -> None:
    body = re.search(r"-d '(\{.*?\})'", README, re.DOTALL)
    shown = re.search(r"```json\n(.*?)```", README, re.DOTALL)
    assert body is not None
    assert shown is not None
    reply = await client.post("/predict", json=json.loads(body[1]))
    assert json.loads(body[1]) == HOUSING.schema.example
    assert list(reply.json()) == list(json.loads(shown[1]))


def test_the_changelog_has_something_unreleased() -> None:
    assert "## Unreleased\n\n###" in (ROOT / "CHANGELOG.md").read_text()
