"""A file is there whole or not at all, whoever else writes it."""

from pathlib import Path

import pytest

from engine.stores.atomic import draft


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "file.txt"


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_draft_takes_the_place_of_the_file_when_it_is_done(file: Path) -> None:
    for text in ("first", "second"):
        with draft(file) as path:
            path.write_text(text)
            assert not file.exists() or file.read_text() == "first"
    assert (file.read_text(), names(file.parent)) == ("second", ["file.txt"])
    assert file.stat().st_mode & 0o777 == 0o644


def test_two_that_write_one_file_at_once_do_not_mix(file: Path) -> None:
    with draft(file) as earlier, draft(file) as later:
        earlier.write_text("of the earlier one")
        later.write_text("of the later one")
    assert (file.read_text(), names(file.parent)) == ("of the earlier one", ["file.txt"])


def test_what_fails_or_is_ended_leaves_the_file_as_it_was(file: Path) -> None:
    with draft(file) as path:
        path.write_text("of yesterday")
    for end in (OSError, SystemExit):
        with pytest.raises(end), draft(file) as path:  # noqa: PT012
            path.write_text("half")
            raise end
    assert (file.read_text(), names(file.parent)) == ("of yesterday", ["file.txt"])


def test_a_folder_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(IsADirectoryError, match="is a folder; name a file"),
        draft(tmp_path / "folder"),
    ):
        raise AssertionError
    assert names(tmp_path) == ["folder"]
