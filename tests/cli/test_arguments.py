"""What scripts that have commands share: `--problem` may stand before the command or after it."""

from collections.abc import Callable

import click
import pytest

from cli.deployment import deployment
from cli.features import features
from cli.records import records
from engine.settings import Settings
from tests.replies import script

Run = Callable[..., tuple[int, str, str]]
ALONE = "the champion answers alone; there is nothing to compare\n"


@pytest.fixture
def run(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[click.Command], Run]:
    """A script where house prices are served, and are not what is asked about."""
    served = settings.model_copy(update={"model_path": "{problem}.joblib"})
    return lambda group: script(group, served, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("group", "command", "problem", "said"),
    [
        (
            deployment,
            "show",
            "churn",
            "no champion is registered yet; train one with train_model.py\n",
        ),
        (deployment, "report", "churn", ALONE),
        (records, "show", "churn", "churn: 0 records\n"),
        (features, "show", "basket", "basket: 0 keys have features\n"),
    ],
)
def test_the_problem_may_be_named_before_the_command_and_after_it(
    run: Callable[[click.Command], Run], group: click.Command, command: str, problem: str, said: str
) -> None:
    code, printed, complaint = run(group)(command, "--problem", problem)
    assert (code, complaint) == (0, "")
    assert printed.endswith(said)


@pytest.mark.parametrize("words", [("--problem", "churn", "forget"), ("forget", "--problem", "x")])
def test_records_of_every_problem_are_forgotten_so_none_can_be_named(
    run: Callable[[click.Command], Run], words: tuple[str, ...]
) -> None:
    code, _, complaint = run(records)(*words, "--before", "2027-01-01", "--yes")
    assert code == 2
    assert "--problem" in complaint
