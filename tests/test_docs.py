"""The documents and the code say the same: routes, settings, commands, options, examples, links."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import click
import httpx
import pytest

from cli.__main__ import predictive
from engine.settings import Settings
from problems.housing import HOUSING
from retrain import retrain
from train_model import train

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md")))
DOCUMENTS = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES}
README = DOCUMENTS["README.md"]
REFERENCE = DOCUMENTS["docs/reference.md"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
BLOCK = re.compile(r"^ *```.*?\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`]+)`")
PATH = re.compile(r"(?:\b(?:GET|PUT|POST) |localhost:8000)(?:/v1/\w+)?(/[\w/.-]*)")
CALL = re.compile(
    r"-m (?P<cli>cli)\b|(?<![\w/-])(?P<installed>predictive)(?= [a-z-])"
    r"|\b(?P<train>train_model\.py|trainer(?= --))|\b(?P<retrain>retrain\.py)"
)
COMMANDS: dict[str | None, click.Command] = {
    "cli": predictive,
    "installed": predictive,
    "train": train,
    "retrain": retrain,
}
OF_OTHERS = {"--access-logfile", "--undated", "--worker-class"}
"""Options of gunicorn and of a benchmark that documents name alone."""


def code(document: str) -> list[str]:
    """The lines of the blocks, continued ones joined, and what stands between backticks."""
    lines = "\n".join(BLOCK.findall(document)).replace("\\\n", " ").splitlines()
    return [*lines, *(" ".join(span.split()) for span in SPAN.findall(prose(document)))]


def prose(document: str) -> str:
    return BLOCK.sub("", document)


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading of the reference that has such a table."""
    section = REFERENCE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = section[section.index("| --- |") :].split("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_setting_is_in_the_reference_with_its_default() -> None:
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
async def test_every_route_is_in_the_reference_and_every_written_one_exists(
    client: httpx.AsyncClient,
) -> None:
    cells = " ".join(cells[0] for cells in table("Routes"))
    written = set(re.findall(r"`(GET|PUT|POST) (/\S*)`", cells))
    paths = (await client.get("/openapi.json")).json()["paths"]
    served = {
        (method.upper(), path)
        for path, methods in paths.items()
        for method in methods
        if not path.startswith("/v1/")
    }
    assert served <= written
    for method, path in written - served:
        assert (await client.request(method, path)).status_code not in {404, 405}, path
    for name, document in DOCUMENTS.items():
        named = {path for line in code(document) for path in PATH.findall(line)}
        assert named <= {path for _, path in written}, name


@pytest.mark.anyio
async def test_every_status_of_a_refusal_is_in_the_reference(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    routes = [route for methods in paths.values() for route in methods.values()]
    refused = {status for route in routes for status in route["responses"]} - {"200"}
    assert refused <= {cells[0] for cells in table("Errors")}


def test_the_documents_show_every_make_target_and_no_other() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = set(re.findall(r"make ([a-z-]+)", shown.stdout))
    lines = [line for document in DOCUMENTS.values() for line in code(document)]
    assert {name for line in lines for name in re.findall(r"\bmake ([a-z-]+)", line)} == targets


def test_every_command_is_in_the_reference_and_no_other() -> None:
    written = [cells[0].strip("`") for cells in table("Command line")]
    assert sorted(written) == sorted(commands(predictive, "python -m cli"))


def commands(command: click.Command, name: str) -> Iterator[str]:
    """A command, or those of a group, as they are typed."""
    if not isinstance(command, click.Group):
        yield name
        return
    for each in command.commands.values():
        yield from commands(each, f"{name} {each.name}")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_line_shown_has_a_command_and_options_that_exist(name: str) -> None:
    faults = [f"{line}: {fault}" for line in code(DOCUMENTS[name]) for fault in faults_of(line)]
    assert faults == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("python -m cli nothing", "no command nothing"),
        ("API_PORT=1 .venv/bin/python -m cli records nothing --yes", "no command nothing"),
        ("python -m cli deployment show --nothing", "show has no --nothing"),
        ("predictive train --data a.csv --nothing=1", "train has no --nothing"),
        ("cd a && python train_model.py --nothing | tail", "train has no --nothing"),
        ("docker compose run --rm trainer --nothing", "train has no --nothing"),
        ("python retrain.py --every 24h --nothing  # now", "retrain has no --nothing"),
        ("--nothing VALUE", "nobody has --nothing"),
    ],
)
def test_a_command_line_that_does_not_exist_is_found(line: str, fault: str) -> None:
    assert list(faults_of(line)) == [fault]


def faults_of(line: str) -> Iterator[str]:
    """Of each call of ours in a line: the first word that is no command, or no option, of it."""
    if line.startswith("--") and (option := line.split()[0]) not in {*options(), *OF_OTHERS}:
        yield f"nobody has {option}"
    for call in CALL.finditer(line):
        command = COMMANDS[call.lastgroup]
        for word in words(line[call.end() :]):
            option = word.partition("=")[0]
            if word.startswith("-"):
                if option not in options_of(command):
                    yield f"{command.name} has no {option}"
                    break
            elif isinstance(command, click.Group) and not word.isupper():
                if word not in command.commands:
                    yield f"no command {word}"
                    break
                command = command.commands[word]


def words(rest: str) -> Iterator[str]:
    """Up to a comment, the end of quoted code, or what the shell does next."""
    lexer = shlex.shlex(rest.partition("`")[0], posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return takewhile(lambda word: not set(word) <= set(lexer.punctuation_chars), lexer)


def options_of(command: click.Command) -> set[str]:
    """Asked as when it runs: a command keeps its help option as the first context names it."""
    above = click.Context(predictive, **predictive.context_settings)
    context = click.Context(command, above, **command.context_settings)
    return {name for one in command.get_params(context) for name in one.opts}


def options(command: click.Command = predictive) -> set[str]:
    """Of all commands together."""
    below = command.commands.values() if isinstance(command, click.Group) else ()
    return options_of(command).union(*map(options, below))


def test_the_build_may_see_what_the_dockerfile_copies_and_no_more() -> None:
    shown = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copies = re.findall(r"^COPY (?!--from)(?:--\S+ )?(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = " ".join(copies).split()
    keys = "data/trusted_key[s]"  # a glob, for there may be none
    wanted = {source.split("/")[0] for source in sources if source != keys}
    assert {*wanted, "data/trusted_keys/*.pub"} == set(shown)
    assert all(any(ROOT.glob(source)) for source in sources if source != keys)


@pytest.mark.parametrize("page", PAGES, ids=DOCUMENTS)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    for link in re.findall(r"\]\(([^):]+)\)", prose(page.read_text())):
        target, _, heading = link.partition("#")
        file = page.parent / target if target else page
        assert file.exists(), link
        assert not heading or heading in anchors(file.read_text()), link


def anchors(document: str) -> set[str]:
    """As GitHub derives them from headings."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_links_to_every_document() -> None:
    for document in ROOT.glob("docs/*.md"):
        assert f"(docs/{document.name})" in README


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
