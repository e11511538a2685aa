"""The pages of `hwnas ui` in Chromium: on a phone and on a screen, light and dark."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_runs import SPACE, begin_run, finish_run, network, summary_of
from samples import bare_table

from hwnas.pipeline.reporting import write_report
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from hwnas.ui import make_ui_server
from lut import save_table

LEAST_CONTRAST = 4.5
"""Of text, by WCAG 2.2 AA."""

PAGES = (
    "/",
    "/runs/digits/",
    "/runs/begun/",
    "/compare?run=digits&run=group/board",
    "/tables/",
    "/tables/digits/lut.json",
)

CONTRASTS = """() => {
  const channels = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const luminance = rgb => rgb.slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const found = channels(getComputedStyle(e).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), poor = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement, style = getComputedStyle(element);
    if (!node.data.trim() || !element.getClientRects().length || element.tagName === "title") continue;
    const is_drawn = element.namespaceURI.endsWith("svg");
    const [a, b] = [channels(is_drawn ? style.fill : style.color), behind(element)].map(luminance);
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < %s) poor.push(contrast.toFixed(2) + " " + node.data.trim());
  }
  return poor;
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where runs are served that are finished, begun and damaged, and tables with and without a certificate."""
    folder = tmp_path_factory.mktemp("runs")
    digits = finish_run(folder / "digits")
    write_report(Run.from_folder(digits.root, Reporter(is_quiet=True)))
    missed = network(measured_ms=4.4, budget_kept=False, advice="give --max-latency 5ms")
    finish_run(folder / "group" / "board", summary_of(missed, device="rpi4"), device="rpi4", seed=3)
    begin_run(folder / "begun")
    broken = finish_run(folder / ("a-name-without-any-space-that-is-much-longer-than-a-phone-is-wide-" + "x" * 60))
    broken.summary.write_text("{")
    save_table(bare_table(SPACE), folder / "plain.lut.json")
    server = make_ui_server(folder, 0, warn=pytest.fail)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("width", "scheme"), [(375, "light"), (1280, "dark")])
def test_pages_fit_are_readable_and_say_nothing_on_the_console(
    chromium: Any, address: str, width: int, scheme: str
) -> None:
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    for path in PAGES:
        assert page.goto(address + path).status == 200
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert page.evaluate(CONTRASTS % LEAST_CONTRAST) == [], path
        charts = page.locator("svg.chart")
        shown = [charts.nth(number).is_visible() for number in range(charts.count())]
        assert sum(shown) == len(shown) / 2, path
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(13, 17, 23)" if scheme == "dark" else "rgb(255, 255, 255)")
    assert not problems and all(url.startswith((address, "data:")) for url in requests)
    page.close()


def test_runs_are_ticked_compared_opened_and_downloaded(chromium: Any, address: str) -> None:
    page = chromium.new_page(viewport={"width": 375, "height": 900})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(address)
    page.get_by_label("Compare digits").check()
    page.get_by_label("Compare group/board").check()
    page.get_by_text("Compare ticked").click()
    page.wait_for_selector("h1 >> text=Compare runs")
    assert page.locator("ul.who li").count() == 2
    assert page.locator("svg.chart:visible").first.locator("circle.large").count() == 1
    assert page.locator("svg.chart:visible").first.locator("circle.hollow").count() == 3
    assert page.get_by_text("different devices (cpu, rpi4)").is_visible()
    page.get_by_role("link", name="digits", exact=True).click()
    page.wait_for_selector("h1 >> text=digits")
    with page.expect_download() as download:
        page.get_by_role("link", name="model.onnx", exact=True).click()
    assert Path(download.value.path()).read_bytes() == b"model model.onnx"
    page.get_by_role("link", name="Open the report").click()
    page.wait_for_selector(".figure .scatterlayer .points path")
    assert page.evaluate("window.origin") == "null", "the report is no part of the other pages"
    page.go_back()
    page.get_by_role("link", name="digits/lut.json").click()
    page.wait_for_selector("h1 >> text=digits/lut.json")
    page.get_by_role("link", name="Runs").click()
    page.get_by_label("Words that a run must have").fill("rpi4 missed")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_function("document.querySelectorAll('tbody tr').length === 1")
    assert page.locator("tbody th").text_content() == "group/board" and not problems
    page.close()
