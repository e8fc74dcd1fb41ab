"""The finished parts of a run, on disk: what a run that was killed has done already.

A part is a file, and beside it a small one with its tally, which is written last: a part without it
is not finished. Files appear by a rename, whole or not at all.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.scoring.batch import Tally
from engine.scoring.formats import FORMATS, Format

Draft = Callable[[Path], AbstractContextManager[Path]]
"""Gives a file beside another one, which takes its place when the block ends well."""
_RUN, _ROWS = "run.json", "rows"


@dataclass(frozen=True)
class Parts:
    """A folder beside the output, gone when the output is there. `format` names the parts', which
    `are_tables` of their own, or pieces of one."""

    folder: Path
    format: str
    draft: Draft
    are_tables: bool

    def begin(self, asked: Mapping[str, Any], run: Mapping[str, str]) -> dict[str, str]:
        """What the run that goes on here is called: an earlier one that was asked for the same, or
        else `run`, a new one, and the parts of another one are removed."""
        file = self.folder / _RUN
        wanted = json.loads(json.dumps(asked))
        if file.exists():
            before = json.loads(file.read_text())
            if before["asked"] == wanted:
                found: dict[str, str] = before["run"]
                return found
            shutil.rmtree(self._rows, ignore_errors=True)
        self._rows.mkdir(parents=True, exist_ok=True)
        with self.draft(file) as path:
            path.write_text(json.dumps({"asked": wanted, "run": dict(run)}))
        return dict(run)

    @property
    def finished(self) -> int:
        return sum(1 for _ in self._rows.glob("*.json"))

    def tally(self, number: int) -> Tally | None:
        """Of a finished part; None for one that is to be done."""
        try:
            found = json.loads(self._tally_file(number).read_text())
        except FileNotFoundError:
            return None
        rules, warnings = Counter(found.pop("rules")), Counter(found.pop("warnings"))
        return Tally(**found, rules=rules, warnings=warnings)

    def keep(self, number: int, batch: Any, tally: Tally) -> None:
        """Write a part; from now on it is finished."""
        with self.draft(self.file(number)) as path:
            self._format.write(batch, path, self.are_tables)
        with self.draft(self._tally_file(number)) as path:
            path.write_text(json.dumps(vars(tally)))

    def file(self, number: int) -> Path:
        return self._rows / f"part-{number:06}{self._format.suffix}"

    def become_folder(self, out: Path) -> None:
        """The parts are the output."""
        for file in self._rows.glob("*.json"):
            file.unlink()
        self._rows.rename(out)

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    def _tally_file(self, number: int) -> Path:
        return self._rows / f"part-{number:06}.json"

    @property
    def _rows(self) -> Path:
        return self.folder / _ROWS

    @property
    def _format(self) -> Format:
        return FORMATS[self.format]
