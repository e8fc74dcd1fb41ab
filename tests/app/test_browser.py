"""The documentation pages in a real browser that can reach nothing but the service."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, sync_playwright

from cli.server import ROOT, serving
from engine.domain.artifact import Artifact
from engine.reports.models import write_card
from problems.housing import HOUSING
from tests.conftest import HOUSE, empty_settings, market

pytestmark = pytest.mark.browser
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOT = ROOT / "artifacts" / "docs.png"


@dataclass
class Visit:
    """One page, and what it must not do."""

    page: Page
    outside: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.route("**/*", self.only_loopback)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console",
            lambda said: self.complaints.append(said.text) if said.type == "error" else None,
        )

    def only_loopback(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        if url.scheme in ("http", "https") and url.hostname != "127.0.0.1":
            self.outside.append(route.request.url)
            route.abort()
        else:
            route.continue_()


@pytest.fixture(scope="module")
def base_url(home: Path) -> Iterator[str]:
    settings = empty_settings(home)
    with serving(
        {"MODEL_PATH": str(settings.model_path), "DATA_DIR": str(settings.data_dir)}
    ) as base_url:
        yield base_url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.fail(f"the browser tests need one of {', '.join(BROWSERS)} on the PATH")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    page = browser.new_page(viewport={"width": 1280, "height": 1900})
    visit = Visit(page)
    visit.watch()
    yield visit
    page.close()


def try_out(page: Page) -> dict[str, object]:
    """The answer shown on the page after Try it out and Execute with the documented body."""
    operation = page.locator("#operations-housing-predict")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    shown = operation.locator(".live-responses-table .response-col_description code").first
    answer: dict[str, object] = json.loads(shown.inner_text())
    return answer


def test_a_price_can_be_had_from_the_docs_page(visit: Visit, base_url: str) -> None:
    visit.page.goto(f"{base_url}/docs")
    shown = try_out(visit.page)
    SCREENSHOT.parent.mkdir(exist_ok=True)
    visit.page.screenshot(path=SCREENSHOT)
    asked = httpx.post(f"{base_url}/predict", json=HOUSE, trust_env=False).json()
    assert shown["predicted_price"] == asked["predicted_price"]
    assert shown["confidence_interval"] == asked["confidence_interval"]
    assert visit.complaints == []
    assert visit.outside == []


def test_the_reference_page_shows_the_operation(visit: Visit, base_url: str) -> None:
    visit.page.goto(f"{base_url}/redoc")
    title = "Predict the price of one house, with an interval that covers"
    visit.page.get_by_role("heading", name=title).first.wait_for(timeout=20_000)
    assert visit.complaints == []
    assert visit.outside == []


@pytest.mark.parametrize(("width", "rows"), [(420, 2), (1200, 1)])
def test_the_pictures_of_a_report_stand_below_each_other_on_a_telephone_only(
    visit: Visit, artifacts: list[Artifact], tmp_path: Path, width: int, rows: int
) -> None:
    write_card(tmp_path / "page.html", HOUSING, artifacts[0], judged=market(2_000, seed=12))
    visit.page.set_viewport_size({"width": width, "height": 900})
    visit.page.goto(f"file://{tmp_path}/page.html")
    boxes = [image.bounding_box() for image in visit.page.locator("img").all()]
    assert len({box["y"] for box in boxes if box}) == rows
    assert all(350 < box["width"] <= 480 for box in boxes if box)
    assert visit.page.evaluate("document.documentElement.scrollWidth") == width
    assert visit.outside == []
