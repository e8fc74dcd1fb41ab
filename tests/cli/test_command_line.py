"""One command line: every command has help, says what does not go together, and is installed."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import click
import pytest

from cli.__main__ import predictive
from cli.server import ROOT
from cli.shared import Command
from engine import __version__

NAMES = {
    *("train", "retrain", "rollout", "rollback", "deployment", "records", "replay", "score"),
    *("features", "serve", "demo"),
}


def every_command() -> list[tuple[str, ...]]:
    """The words of each command that does something, `deployment show` among them."""
    found: list[tuple[str, ...]] = []
    for name, one in predictive.commands.items():
        below = one.commands if isinstance(one, click.Group) else {}
        found += [(name, inner) for inner in below] or [(name,)]
    return found


def run(*words: str) -> tuple[int, str, str]:
    """The exit code and what is printed by `python -m cli` with these words."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_there_is_a_command_for_each_thing_to_do() -> None:
    assert set(predictive.commands) == NAMES


@pytest.mark.parametrize("words", every_command(), ids=" ".join)
def test_every_command_has_a_sentence_and_an_example_that_can_be_typed(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        predictive.main([*words, "--help"], "python -m cli")
    text = capsys.readouterr().out
    about, _, examples = text.partition("Example")
    shown = {f"python -m cli {' '.join(words)}"} | {"python train_model.py", "python retrain.py"}
    assert end.value.code == 0
    assert re.search(r"\n  [A-Z].{10,}", about)
    assert any(one in examples for one in shown)


def test_the_version_is_that_of_the_service() -> None:
    assert run("--version") == (0, f"predictive, version {__version__}\n", "")


def test_a_command_that_there_is_not_is_misuse() -> None:
    code, _, complaint = run("deploy")
    assert code == 2
    assert "No such command 'deploy'" in complaint


def test_a_shell_completes_commands_and_options() -> None:
    asked = {"COMP_WORDS": "predictive deployment s", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", "from cli.__main__ import predictive; predictive(prog_name='x')"],
        env={**os.environ, **asked, "_X_COMPLETE": "bash_complete"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["plain,set", "plain,show"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("train", "--layout", "kaggle"), "--layout needs --data"),
        (("train", "--served", "--out", "x.joblib"), "--served cannot be used with --out"),
        (("train", "--data", "x.csv", "--yes"), "--yes needs --target"),
        (("train", "--data", "x.csv", "--target", "y", "--drop", "--yes"), "'--drop' requires"),
        (
            ("retrain", "--rollback", "v1.0.0", "--dry-run"),
            "--rollback cannot be used with --dry-run",
        ),
        (("retrain", "--rollout", "--dry-run"), "--rollout cannot be used with --dry-run"),
        (("retrain", "--since", "2026-01-01", "--data", "x"), "--since cannot be used with --data"),
        (("retrain", "--every", "0s"), "'0s' is not a time span"),
        (("features", "load"), "name a table with --data"),
    ],
)
def test_what_does_not_go_together_is_said_in_one_line(
    words: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        predictive.main(words, "python -m cli")
    assert end.value.code == 2
    assert reason in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("words", [("-h",), ("train", "-h"), ("records", "show", "-h")])
def test_help_has_a_short_name(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as end:
        predictive.main(words, "python -m cli")
    assert end.value.code == 0


@pytest.mark.parametrize("share", ["nan", "-0.1", "1.1", "half"])
def test_a_share_is_a_number_from_0_to_1(share: str) -> None:
    with pytest.raises(SystemExit) as end:
        predictive.main(["retrain", "--max-bad-share", share], "python -m cli")
    assert end.value.code == 2


def test_the_entry_point_of_the_package_is_there() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, name = scripts["predictive"].partition(":")
    assert callable(getattr(import_module(module), name))


def test_of_an_option_with_several_values_the_last_counts() -> None:
    found: list[str] = []
    option = click.Option(["--drop"], multiple=True)
    command = Command("x", params=[option], callback=lambda drop: found.extend(drop))
    with pytest.raises(SystemExit):
        command.main(["--drop", "a", "--drop", "b", "c"])
    assert found == ["b", "c"]


@pytest.mark.slow
def test_it_can_be_installed(tmp_path: Path) -> None:
    """Beside the libraries of this environment; the command works in any folder."""
    place, source = tmp_path / "installed", tmp_path / "source"
    for name in ("app", "cli", "engine", "problems"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "retrain.py", "train_model.py"):
        shutil.copy(ROOT / name, source)
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*uv, "--target", str(place), str(source)], check=True, cwd=tmp_path)
    done = subprocess.run(
        [str(place / "bin" / "predictive"), "train", "--rows", "600", "--out", "houses.joblib"],
        env={**os.environ, "PYTHONPATH": str(place), "DATA_DIR": str(tmp_path / "data")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "houses.joblib").exists()
