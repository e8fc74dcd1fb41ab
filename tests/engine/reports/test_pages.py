"""The pages that scripts write: every picture says something, and can be read on a telephone."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from engine.domain.artifact import Artifact
from engine.reports.comparisons import draw_comparisons
from engine.reports.models import write_card
from engine.watching.comparison import Comparison
from engine.watching.sequence import Difference
from engine.watching.sides import Side
from problems.housing import HOUSING
from tests.conftest import market

TELEPHONE_INCHES = 4.8
"""At this width the text in a picture is about as large as that of the page."""
BLUE = (27, 108, 168)


def images(page: str) -> dict[str, Image.Image]:
    """The pictures of a page by what stands below them."""
    found = re.findall(r'base64,([^"]+)"><figcaption>([^<]+)</figcaption>', page)
    assert len(found) == page.count("<img ")
    return {words: Image.open(io.BytesIO(base64.b64decode(data))) for data, words in found}


def places(image: Image.Image, colour: tuple[int, int, int]) -> int:
    """How many pixels have nearly this colour."""
    return int((np.abs(np.asarray(image.convert("RGB"), int) - colour).max(axis=2) < 8).sum())


@pytest.fixture(scope="module")
def small(artifacts: list[Artifact], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a model that 80 rows judge: no slice of them is large enough."""
    path = tmp_path_factory.mktemp("pages") / "small.html"
    write_card(path, HOUSING, artifacts[0], judged=market(80, seed=11))
    return path.read_text()


@pytest.fixture(scope="module")
def large(artifacts: list[Artifact], tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("pages") / "large.html"
    write_card(path, HOUSING, artifacts[0], judged=market(2_000, seed=12))
    return path.read_text()


def test_where_no_slice_is_large_enough_the_coverage_of_all_rows_is_drawn(small: str) -> None:
    (words,) = (words for words in images(small) if words.startswith("Coverage"))
    image = images(small)[words]
    below_the_legend = image.crop((0, image.height // 3, *image.size))
    assert "of all rows; a fifth of 80 is too few" in words
    assert places(below_the_legend, BLUE) > 50
    assert places(image, (204, 204, 204)) < image.width * image.height / 5


def test_slices_that_are_large_enough_are_drawn_each_on_a_line(small: str, large: str) -> None:
    heights = [
        next(image.height for words, image in images(page).items() if words.startswith("Coverage"))
        for page in (small, large)
    ]
    assert heights[1] > 3 * heights[0]
    assert any("each fifth of them by a column" in words for words in images(large))


def test_pictures_are_as_wide_as_a_telephone_and_the_page_is_too(large: str) -> None:
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in large
    assert len(images(large)) == 2
    for image in images(large).values():
        assert image.width / image.info["dpi"][0] <= TELEPHONE_INCHES + 0.01


def test_what_is_not_known_of_a_variant_is_not_drawn() -> None:
    nothing = Side("v1.0.0", 9, 9, 0, 0, 0.0, None, None, None)
    unknown = Comparison(
        version="v1.1.0-rc.1",
        mode="test",
        judged_by="log loss",
        alpha=0.05,
        share=0.1,
        champion=nothing,
        variant=nothing,
        improvement=None,
        latency=None,
        coverage=None,
        agreement=None,
        far_better=None,
        more_outcomes=None,
    )
    better = replace(unknown, improvement=Difference(0.1, 0.05, 0.2))
    assert [words.split()[0] for words in images(draw_comparisons([unknown]))] == ["Units"]
    assert [words.split()[0] for words in images(draw_comparisons([better]))] == ["log", "Units"]
