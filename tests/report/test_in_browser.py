"""report.html and the page of `covr runs compare` in a real headless browser, offline, at desktop and phone width."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covr.evaluate.scores import RowScores
from covr.report.compare import as_html, compare
from covr.tracking.evaluated import Evaluated

pytestmark = pytest.mark.browser

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
CONTRAST = """
() => {
  const channel = c => (c /= 255) <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => .2126 * channel(r) + .7152 * channel(g) + .0722 * channel(b);
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = rgb(getComputedStyle(element).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  let worst = [99, ""];
  for (const element of document.querySelectorAll("main *")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility()) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < worst[0]) worst = [ratio, element.outerHTML.slice(0, 120)];
  }
  return worst;
}
"""


@pytest.fixture(scope="module")
def pages(html, tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    rng = np.random.default_rng(0)
    runs = []
    for name in ("out/first", "out/a-second-run-with-a-long-name:text-only"):
        ids = [str(i) for i in range(60)]
        values = {"mAP@10": rng.random(60), "R@1": np.round(rng.random(60))}
        found = RowScores(query_ids=ids, clusters=ids, queries="q", values=values)
        params = {f"finetune.parameter_{i}": f"{name} {i}" for i in range(8)}
        runs.append(Evaluated(name=name, scores=found, params=params))
    found = {"report": html, "compare": as_html(compare(runs, "mAP@10"), "mAP@10")}
    for name, text in found.items():
        (folder / f"{name}.html").write_text(text)
    return {name: folder / f"{name}.html" for name in found}


@pytest.fixture
def opened(browser, pages):
    """Open a page offline; it may ask for nothing, and no script may fail."""
    contexts, told = [], []

    def open_page(name: str, size: str, scheme: str = "light"):
        width, height = SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            offline=True,
            reduced_motion="no-preference",
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: told.append(request.url) if request.url.startswith("http") else None)
        page.goto(pages[name].as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert told == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["report", "compare"])
def test_the_page_is_as_wide_as_the_screen(opened, name, size):
    page = opened(name, size)
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size][0]
    # What is wider scrolls in its own card.
    cut = page.evaluate(
        """() => [...document.querySelectorAll("main *")]
             .filter(each => !each.closest(".wide") && each.getBoundingClientRect().right > innerWidth + 1)
             .map(each => each.outerHTML.slice(0, 80))"""
    )
    assert cut == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["report", "compare"])
def test_text_can_be_read_in_both_themes(opened, name, scheme):
    page = opened(name, "desktop", scheme)
    ratio, where = page.evaluate(CONTRAST)
    assert ratio >= 4.5, where  # WCAG AA
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) > 384) == (scheme == "light")


@pytest.mark.parametrize("size", SIZES)
def test_clips_move(opened, size):
    page = opened("report", size)
    video = page.locator("video").first
    video.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('video').currentTime > 0", timeout=20_000)
    assert video.evaluate("video => [video.videoWidth, video.videoHeight, video.muted, video.loop]") == [
        32,
        32,
        True,
        True,
    ]
    page.locator("footer").scroll_into_view_if_needed()
    page.wait_for_function("!document.querySelector('video').src", timeout=20_000)  # far away it holds nothing


def test_failures_come_first_and_answers_are_marked(opened):
    page = opened("report", "desktop")
    chips = page.locator(".query .chip").all_text_contents()
    ranks = [int(text.rpartition(" ")[2]) if "rank" in text else 10**6 for text in chips]
    failed = [rank > 5 for rank in ranks]
    assert failed == sorted(failed, reverse=True)
    for query in page.locator(".query").all():
        verdicts = query.locator(".verdict").all_text_contents()
        assert len(verdicts) == 5
        assert all(text.startswith(("✓ right · ", "✗ wrong · ")) for text in verdicts)
