"""Reports in a real browser: nothing is fetched, nothing overflows a phone, no message in the console, A4 on paper."""

import base64
import json
import os
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pytest.importorskip("selenium", reason="selenium is not installed")

import softmax as sm

from .test_html import NASTY
from .test_write import PARTS

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE, DESKTOP = (360, 740), (1280, 900)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Debian's chromium with an empty profile; SOFTMAX_CHROMIUM and SOFTMAX_CHROMEDRIVER name others."""
    program = os.environ.get("SOFTMAX_CHROMIUM") or shutil.which("chromium")
    driver = os.environ.get("SOFTMAX_CHROMEDRIVER") or shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("chromium and chromedriver are not installed (Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """A small report, one with names of every kind, and one of 150 classes."""
    folder = tmp_path_factory.mktemp("reports")
    rng = np.random.default_rng(5)
    X, y = load_iris(return_X_y=True)
    sm.write_report(
        sm.SoftmaxRegression().fit(X[::2], y[::2]),
        folder / "iris.html",
        data=(X[::2], y[::2]),
        evaluation=(X[1::2], y[1::2]),
        command="softmax fit iris --report iris.html",
    )
    names = np.array([*NASTY, "x" * 10_000, "no-spaces-" * 8], dtype=object)
    for name, labels, n in (("names", names, 300), ("many", np.array([f"class number {i}" for i in range(150)]), 1500)):
        codes = np.arange(n) % len(labels)
        X = pd.DataFrame(
            rng.normal(size=(n, 6)) + 2 * np.eye(len(labels), 6)[codes], columns=[*NASTY[:5], "y" * 10_000]
        )
        model = sm.SoftmaxRegression(tol=1e-2).fit(X, labels[codes])
        long = "a long command " * 40 + "z" * 500
        sm.write_report(
            model, folder / f"{name}.html", data=(X, labels[codes]), evaluation=(X, labels[codes]), command=long
        )
    return folder


def emulate(browser, size, *, dark=False, media=""):
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size is PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": scheme})


def test_closed_parts_are_printed(browser, reports):
    """On the screen the table of 150 classes is folded away; on paper there is nothing to click on."""
    heights = "return [...document.querySelectorAll('details:not([open]) table')].map(t => t.offsetHeight > 0 && "
    heights += "t.checkVisibility({contentVisibilityAuto: true}))"
    emulate(browser, DESKTOP)
    open_report(browser, reports / "many.html")
    folded = browser.execute_script(heights)
    assert folded and not any(folded)
    emulate(browser, DESKTOP, media="print")
    assert all(browser.execute_script(heights))
    emulate(browser, DESKTOP)
    assert not any(browser.execute_script(heights))


def requests(browser):
    """The addresses that the browser asked for since the last call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def open_report(browser, path):
    browser.get_log("browser")
    requests(browser)
    browser.get(path.as_uri())


WIDEST = """
const wide = [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll > *') && !e.closest('svg *')
  && e.getBoundingClientRect().right > innerWidth + 0.5);
return [document.documentElement.scrollWidth, innerWidth, wide.map(e => e.tagName + '.' + e.className)];
"""


@pytest.mark.parametrize("name", ["iris", "names", "many"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_nothing_overflows_and_nothing_is_fetched(browser, reports, name, size):
    emulate(browser, size)
    open_report(browser, reports / f"{name}.html")
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")
    content, window, wide = browser.execute_script(WIDEST)
    assert content <= window and wide == []
    assert browser.get_log("browser") == []
    assert {url.partition(":")[0] for url in requests(browser)} <= {"file", "data"}
    assert browser.execute_script("return [...document.querySelectorAll('section')].map(s => s.id)") == PARTS
    heights = browser.execute_script("return [...document.querySelectorAll('section')].map(s => s.clientHeight)")
    assert min(heights) > 40
    assert browser.execute_script("return document.scripts.length") == 0
    assert (
        "<script>alert(1)</script>" in browser.page_source.replace("&lt;", "<").replace("&gt;", ">") or name != "names"
    )


def test_drawings_have_names_for_a_screen_reader(browser, reports):
    emulate(browser, PHONE)
    open_report(browser, reports / "iris.html")
    tree = browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = {"image", "img", "graphics-document", "SvgRoot"}
    images = [n for n in tree if n.get("role", {}).get("value") in roles and not n.get("ignored")]
    words = [n.get("name", {}).get("value", "") for n in images]
    assert sum("Heat map of the confusion matrix" in word for word in words) == 1
    assert sum("Reliability diagram" in word for word in words) == 1
    assert len(browser.find_elements("css selector", "table caption")) >= 6


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_letters_stand_out_from_the_page(browser, reports, dark):
    """The contrast of WCAG 2 between the text, of drawings too, and what is behind it."""
    emulate(browser, PHONE, dark=dark)
    open_report(browser, reports / "iris.html")
    colours = browser.execute_script(
        """const css = (e, p) => getComputedStyle(e)[p];
        return {page: css(document.body, 'backgroundColor'),
          tile: css(document.querySelector('.tile'), 'backgroundColor'),
          text: css(document.body, 'color'), link: css(document.querySelector('nav a'), 'color'),
          label: css(document.querySelector('#convergence-figure_1 text, svg text'), 'fill')}"""
    )
    light = {key: luminance(value) for key, value in colours.items()}
    assert (light["page"] < 0.1) == dark
    for front, back in (("text", "page"), ("text", "tile"), ("label", "page"), ("link", "page")):
        low, high = sorted((light[front], light[back]))
        assert (high + 0.05) / (low + 0.05) > 4.5, (front, back, colours)


def luminance(colour):
    """The relative luminance of a CSS colour rgb(r, g, b)."""
    parts = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_a_report_prints_on_a4(browser, reports):
    emulate(browser, DESKTOP, dark=True)
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})  # it prints what is emulated
    open_report(browser, reports / "iris.html")
    options = {"printBackground": True, "preferCSSPageSize": True}
    document = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", options)["data"])
    assert document.startswith(b"%PDF-")
    boxes = re.findall(rb"/MediaBox \[([\d. ]+)\]", document)
    assert 2 <= len(boxes) <= 10
    assert {tuple(round(float(v) / 5) for v in box.split()) for box in boxes} == {(0, 0, 119, 168)}  # 595 × 842
    emulate(browser, DESKTOP, dark=True, media="print")
    assert browser.execute_script("return getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
