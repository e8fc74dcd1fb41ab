"""What the containers promise, asked of the real engine."""

import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from cli.server import ROOT
from engine.assemble import open_signer
from engine.domain.version import Version
from engine.model.model import serve
from engine.settings import Settings
from engine.stores.files import ArtifactFile
from problems.housing import HOUSING, simulate
from tests.conftest import HOUSE
from tests.containers import Stack, run, started

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
SHIPPED = ArtifactFile(ROOT / "housing_model.joblib", open_signer(Settings(_env_file=None)))
UNWANTED_PACKAGES = ("pip", "sklearn", "scipy", "pandas", "onnx", "engine.learning")
UNWANTED_COMMANDS = ("pip", "pip3", "gcc", "cc", "make")
GRACE_SECONDS = 10
TAKEOVER_SECONDS = 5


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with started() as stack:
        yield stack


@pytest.fixture(scope="module")
def before_training(stack: Stack) -> dict[str, str]:
    """What answered, and since when the container runs, before a model was trained beside it."""
    known = {
        "version": stack.ask("/ready")["model_version"],
        "started": stack.state(".State.StartedAt"),
    }
    stack.compose("run", "--rm", "-T", "trainer", "--rows", "2000", "--seed", "7")
    return known


def test_the_documented_house_gets_the_price_of_the_shipped_model(stack: Stack) -> None:
    shipped = serve(SHIPPED.load(), HOUSING, loaded_at="now")
    rows = HOUSING.schema.encode([HOUSE])
    expected = shipped.predict(rows, confidence=0.9).values[0]
    answer = stack.ask(f"/predict?model_version={shipped.card.version}", HOUSE)
    assert answer["model_version"] == shipped.card.version
    assert answer["predicted_price"] == pytest.approx(expected, rel=1e-5)
    interval = answer["confidence_interval"]
    assert interval["lower"] < answer["predicted_price"] < interval["upper"]


def test_the_server_is_an_ordinary_user_without_capabilities(stack: Stack) -> None:
    status = stack.inside("cat", "/proc/1/status").stdout
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert facts["Uid"].split() == ["10001"] * 4
    assert int(facts["CapBnd"], 16) == 0
    assert facts["NoNewPrivs"] == "1"


@pytest.mark.parametrize("place", ["/app", "/venv", "/etc", "/home"])
def test_the_container_cannot_be_written_to(stack: Stack, place: str) -> None:
    as_root = run("docker", "exec", "-u", "0", stack.container(), "sh", "-c", write_to(place))
    assert "Read-only file system" in as_root


@pytest.mark.parametrize("place", ["/data", "/tmp"])  # noqa: S108
def test_the_volume_and_the_scratch_folder_can_be_written_to(stack: Stack, place: str) -> None:
    assert stack.inside("sh", "-c", write_to(place)).stdout == "written\n"


def write_to(place: str) -> str:
    return f"touch {place}/probe 2>&1 && rm {place}/probe && echo written || true"


@pytest.mark.parametrize("name", UNWANTED_PACKAGES)
def test_a_package_that_only_training_needs_is_not_in_the_image(stack: Stack, name: str) -> None:
    found = f"import importlib.util as i; print(i.find_spec({name!r}))"
    assert stack.inside("python", "-c", found).stdout == "None\n"


@pytest.mark.parametrize("name", UNWANTED_COMMANDS)
def test_a_tool_that_only_building_needs_is_not_in_the_image(stack: Stack, name: str) -> None:
    assert stack.inside("sh", "-c", f"command -v {name} || echo none").stdout == "none\n"


def test_a_model_trained_beside_the_service_takes_over_without_a_restart(
    stack: Stack, before_training: dict[str, str]
) -> None:
    shipped = before_training["version"]
    newer = str(Version.parse(shipped).next_minor())
    deadline = time.monotonic() + TAKEOVER_SECONDS
    while stack.ask("/ready")["model_version"] == shipped and time.monotonic() < deadline:
        time.sleep(0.1)
    info = stack.ask("/model/info")
    assert info["model_version"] == newer
    assert {shipped, newer} < set(info["versions"])
    assert stack.ask("/predict", HOUSE)["model_version"] == newer
    assert stack.state(".State.StartedAt") == before_training["started"]


@pytest.mark.usefixtures("before_training")
def test_a_retraining_beside_the_service_promotes_on_a_market_that_changed(
    stack: Stack, tmp_path: Path
) -> None:
    """And the server, which holds no private key, takes up what the other container signed."""
    frame = pd.DataFrame(simulate(2_500, 44))
    frame["price"] = (frame["price"] * 1.5).round(-2)
    frame.to_csv(tmp_path / "sales.csv", index=False)
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    before = stack.ask("/ready")["model_version"]
    once = (*stack.command, "run", "--rm", "-T", "retrainer", "--data", "/incoming")
    run(*once, env={**stack.env, "INCOMING": str(tmp_path)})
    deadline = time.monotonic() + TAKEOVER_SECONDS
    while stack.ask("/ready")["model_version"] == before and time.monotonic() < deadline:
        time.sleep(0.1)
    info = stack.ask("/model/info")
    assert info["model_version"] == str(Version.parse(before).next_minor())
    assert info["history"][-1]["action"] == "promoted"
    assert stack.inside("sh", "-c", "ls /keys/* || echo none").stdout == "none\n"


@pytest.mark.usefixtures("before_training")
def test_what_was_trained_and_recorded_outlives_the_container(stack: Stack) -> None:
    known = stack.ask("/model/info")
    answer = stack.ask("/predict", HOUSE)
    replaced = stack.container()
    stack.compose("up", "-d", "--force-recreate", "api")
    stack.wait_until_healthy()
    info = stack.ask("/model/info")
    assert stack.container() != replaced
    assert (info["model_version"], info["versions"]) == (known["model_version"], known["versions"])
    assert info["model_version"] != SHIPPED.load().card.version
    outcome = {"prediction_id": answer["prediction_id"], "actual": 400_000}
    assert stack.ask("/feedback", outcome)["recorded"] == 1


@pytest.mark.usefixtures("before_training")
def test_the_records_are_read_by_the_scripts_in_the_other_container(stack: Stack) -> None:
    answer = stack.ask("/predict", HOUSE)
    other = (*stack.command, "run", "--rm", "-T", "--entrypoint", "python", "trainer")
    shown = run(*other, "-m", "cli", "replay", "--newest", "1", env=stack.env)
    exported = run(
        *other, "-m", "cli", "records", "export", "--out", "/data/r.parquet", env=stack.env
    )
    assert answer["model_version"] in shown
    assert "computed again to the last bit" in shown
    assert "records" in exported


def test_another_problem_is_trained_beside_the_service_and_then_served_with_its_features(
    stack: Stack,
) -> None:
    stack.compose("run", "--rm", "-T", "trainer", "--problem", "basket", "--rows", "2000")
    both = {**stack.env, "SERVE": "housing,basket"}
    run(*stack.command, "up", "-d", "--force-recreate", "api", env=both)
    stack.wait_until_healthy()
    answer = stack.ask("/v1/basket/predict", {"user_id": "abc123"})
    assert (answer["user_id"], answer["degraded"]) == ("abc123", False)
    assert stack.ask("/ready")["problems"].keys() == {"housing", "basket"}


def test_the_server_ends_by_itself_when_it_is_told_to_stop(stack: Stack) -> None:
    begin = time.monotonic()
    run("docker", "stop", stack.container())
    seconds = time.monotonic() - begin
    exit_code = stack.state(".State.ExitCode")
    stack.compose("start", "api")
    stack.wait_until_healthy()
    assert seconds < GRACE_SECONDS
    assert exit_code == "0"
