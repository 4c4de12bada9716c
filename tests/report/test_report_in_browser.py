"""The page in headless Chromium, opened from disk; skipped where there is no Chromium or no driver for it."""

import json
import shutil
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from planted_comparison import write_comparison
from planted_runs import write_run, write_sweep
from planted_tables import write_tables

from collapsar.report.page import write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)
EVIL = "<script>window.injected = 1</script><b>%{y}</b>&lt;"
pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="no chromium with chromedriver on the path (Debian: chromium-driver)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "sweep"
    write_sweep(folder)
    evil = write_run(folder / "evil", regime="replace", rate=0.2, settings={"note": EVIL})
    write_tables(evil, num_generations=3, name=EVIL)
    return write_report([folder], folder / "report.html")


@pytest.fixture(scope="module")
def small_page(tmp_path_factory) -> Path:
    """Every section of the page in as few elements as it takes: axe looks at each of them."""
    folder = tmp_path_factory.mktemp("small") / "sweep"
    for seed, regime, num_finished in (
        (0, "replace", 3),
        (1, "replace", 3),
        (0, "accumulate", 3),
        (1, "accumulate", 2),
    ):
        write_run(
            folder / f"{regime}-{seed}",
            regime=regime,
            seed=seed,
            rate=0.7,
            num_generations=3,
            num_finished=num_finished,
        )
    write_tables(folder / "replace-0", num_generations=3)
    return write_report([folder], folder / "report.html")


@pytest.fixture(scope="module")
def compared_page(tmp_path_factory) -> Path:
    """Arms against their baseline."""
    folder = write_comparison(tmp_path_factory.mktemp("comparison"), seeds=range(3), num_generations=4)
    return write_report([folder], folder / "report.html")


@pytest.fixture(scope="module")
def searched_page(tmp_path_factory) -> Path:
    """Arms that differ in one number."""
    folder = tmp_path_factory.mktemp("searched") / "sweep"
    for batch_size in (16, 32, 64):
        write_run(
            folder / str(batch_size), rate=batch_size / 100, num_generations=3, settings={"batch_size": batch_size}
        )
    return write_report([folder], folder / "report.html")


def open_page(browser, page, *, width=1280, scheme="light", motion="no-preference"):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": motion},
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(page.as_uri())
    wait_for_curves(browser)


def wait_for_curves(browser, *, seconds=20):
    """Until every chart that is seen has been drawn."""
    is_drawn = """[...document.querySelectorAll("figure.chart:not(details:not([open]) *) .plot")]
        .every(plot => plot.querySelector(".main-svg"))"""
    end = time.monotonic() + seconds
    while not run(browser, is_drawn):
        assert time.monotonic() < end, "a chart was not drawn"
        time.sleep(0.05)


def run(browser, script):
    return browser.execute_script(f"return {script}")


def frames_shown(browser):
    """The generation in sight in each window of the reels."""
    return run(
        browser,
        """[...document.querySelectorAll(".window[data-generations]")].map(window => {
            const {left} = window.getBoundingClientRect();
            const frames = [...window.querySelectorAll(".frames span")];
            return frames.find(frame => Math.abs(frame.getBoundingClientRect().left - left) < 2)?.textContent;
        })""",
    )


def test_reels_play_pause_and_follow_the_slider_by_keyboard(browser, page):
    open_page(browser, page)
    play, slider = browser.find_element("id", "play"), browser.find_element("id", "frame")
    assert play.text == "Pause"  # it plays from the start
    before = frames_shown(browser)
    end = time.monotonic() + 10
    while frames_shown(browser) == before:
        assert time.monotonic() < end, "the reels do not move"
        time.sleep(0.1)
    play.send_keys(" ")
    assert play.text == "Play"
    slider.send_keys("\ue011")  # home
    assert frames_shown(browser) == ["generation 0"] * 2
    slider.send_keys("\ue014")  # to the right
    assert frames_shown(browser) == ["generation 1"] * 2
    assert slider.get_attribute("aria-valuetext") == "generation 1"
    slider.send_keys("\ue010")  # end
    assert frames_shown(browser) == ["generation 7"] * 2
    assert browser.find_element("id", "frame-text").text == "7 of 7"


def test_reels_stand_still_for_those_who_want_less_motion(browser, page):
    open_page(browser, page, scheme="light", motion="reduce")
    assert browser.find_element("id", "play").text == "Play"
    assert frames_shown(browser) == ["generation 7"] * 2


def test_without_a_script_the_last_generation_is_seen_and_the_first_screen_needs_none(browser, page):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(page.as_uri())
        assert not browser.find_element("id", "player").is_displayed()
        assert all(drawing.is_displayed() for drawing in browser.find_elements("css selector", "#answer svg"))
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert frames_shown(browser) == ["generation 7"] * 2


def test_the_first_screen_holds_reels_sentence_and_both_curves(browser, small_page):
    open_page(browser, small_page)
    bottoms = (
        "[...document.querySelectorAll('.reels, .headline, .glances svg')].map(e => e.getBoundingClientRect().bottom)"
    )
    assert max(run(browser, bottoms)) <= 900


def test_on_a_phone_what_is_wider_than_the_screen_says_so_until_it_is_scrolled_to_its_end(browser, compared_page):
    open_page(browser, compared_page, width=390)
    seen = "[...document.querySelectorAll('.scroller:not(details:not([open]) *)')]"
    are_wide = run(browser, f"{seen}.map(e => e.scrollWidth > e.clientWidth + 4)")
    assert sum(are_wide) > 1
    assert run(browser, f"{seen}.map(e => e.classList.contains('more'))") == are_wide
    forest = "document.querySelector('.scroller:has(table.forest)')"
    cue = f"getComputedStyle({forest}, '::before').content"
    assert "more at the right" in run(browser, cue)
    run(browser, f"{forest}.scrollTo({{left: 9999, behavior: 'instant'}})")
    time.sleep(0.3)
    assert "more" not in run(browser, f"{forest}.className")


def test_page_loads_from_disk_without_console_message_or_network_request(browser, page):
    open_page(browser, page)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert page.as_uri() in urls
    assert [url for url in urls if not url.startswith(("file:", "data:", "blob:"))] == []


@pytest.mark.parametrize("broken", ["delete window.DecompressionStream", "window.atob = () => 'not a script'"])
def test_a_browser_that_cannot_unpack_plotly_shows_a_notice_and_the_tables(browser, page, broken):
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": broken})
    try:
        browser.get(page.as_uri())
        time.sleep(0.5)
        assert browser.find_element("id", "no-charts").is_displayed()
        assert not any(figure.is_displayed() for figure in browser.find_elements("css selector", "figure[data-chart]"))
        assert browser.find_element("css selector", "table.figures").is_displayed()
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_no_notice_is_shown_where_curves_are_drawn(browser, page):
    open_page(browser, page)
    assert not browser.find_element("id", "no-charts").is_displayed()


def test_a_curve_is_drawn_for_every_arm_and_metric(browser, page):
    open_page(browser, page)
    drawn = run(
        browser,
        """[...document.querySelectorAll("figure.chart[data-metric=recall], figure.chart[data-metric=fid]")].map(f =>
        [...f.querySelectorAll(".scatterlayer .trace .points")].filter(g => g.children.length >= 8).length)""",
    )
    assert drawn == [5, 5]


@pytest.mark.parametrize(
    ("num_generations", "ticks"),
    [(1, [0, 1]), (2, [0, 1]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (9, [*range(9)]), (10, [*range(0, 10, 2)])],
)
def test_ticks_of_generations_are_whole(browser, tmp_path, num_generations, ticks):
    write_run(tmp_path / "run", num_generations=num_generations)
    open_page(browser, write_report([tmp_path / "run"], tmp_path / "report.html"))
    shown = run(
        browser,
        """[...document.querySelectorAll("figure[data-chart=metric], figure[data-chart=survival]")]
        .filter(figure => !figure.closest("details:not([open])"))
        .map(figure => [...figure.querySelectorAll(".xtick text")].map(text => text.textContent))""",
    )
    assert len(shown) > 2
    assert all(texts == [str(tick) for tick in ticks] for texts in shown), shown


def test_a_forest_has_a_mark_for_every_arm_and_outcome_and_no_console_message(browser, compared_page):
    open_page(browser, compared_page)
    assert browser.get_log("browser") == []
    marks = """[...document.querySelectorAll("table.forest .mark")].map(mark => mark.getBoundingClientRect())
        .filter(box => box.width > 5 && box.height > 5).length"""
    assert run(browser, marks) == 4 * 5


@pytest.mark.parametrize("script", [True, False])
def test_names_of_a_forest_stay_whole_beside_their_effects_on_a_phone(browser, compared_page, script):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
    try:
        if script:
            open_page(browser, compared_page, width=390)
        else:
            browser.get(compared_page.as_uri())
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    rows = """[...document.querySelectorAll("table.forest tbody tr")].map(row => {
        const name = row.querySelector("th"), mark = row.querySelector(".mark");
        const [left, right] = [name.getBoundingClientRect(), mark.getBoundingClientRect()];
        return left.left >= 0 && name.scrollWidth <= name.clientWidth && left.right <= right.left && right.right <= 390;
    })"""
    assert run(browser, rows) == [True] * 4
    run(browser, "document.querySelector('.scroller:has(table.forest)').scrollTo({left: 9999, behavior: 'instant'})")
    lefts = (
        "[...document.querySelectorAll('table.forest th[scope=row]')].map(name => name.getBoundingClientRect().left)"
    )
    assert min(run(browser, lefts)) >= 0


def test_a_phase_curve_stands_beside_the_curves_that_plotly_draws(browser, searched_page):
    open_page(browser, searched_page)
    assert browser.get_log("browser") == []
    assert all(drawing.is_displayed() for drawing in browser.find_elements("css selector", "svg.phase-curve"))
    assert run(browser, 'document.querySelectorAll("svg.phase-curve circle").length') == 2 * 3


def test_an_arm_of_a_forest_shows_its_name_and_its_numbers(browser, compared_page):
    open_page(browser, compared_page)
    text = run(browser, "document.querySelector('table.forest td:has(.better) title').textContent")
    assert text.startswith("mix, real_fraction=0.1: better, ")
    assert "% of pairs of runs" in text


def test_legend_toggles_an_arm_in_every_chart_by_keyboard(browser, page):
    open_page(browser, page)
    count = """[...document.querySelectorAll(".plot")].filter(p => p.data && p.offsetParent)
        .map(p => p.data.filter(t => t.visible !== false && t.name === "gan, replace").length)"""
    assert run(browser, count) == [1] * 6
    (button,) = (found for found in browser.find_elements("css selector", "button.arm") if found.text == "gan, replace")
    button.send_keys("\ue007")
    assert run(browser, count) == [0] * 6
    assert button.get_attribute("aria-pressed") == "false"
    button.send_keys(" ")
    assert run(browser, count) == [1] * 6


def test_drawn_values_equal_the_records(browser, page):
    open_page(browser, page)
    lines = (page.parent / "gan-replace-1" / "records.jsonl").read_text().splitlines()
    recorded = [json.loads(line)["metrics"]["fid"] for line in lines]
    drawn = run(
        browser,
        """[...document.querySelectorAll("figure[data-metric=fid] .plot")][0].data
        .filter(t => t.name === "gan-replace-1").map(t => t.y)[0]""",
    )
    assert drawn == recorded


@pytest.mark.parametrize("opened", [False, True])
def test_page_does_not_scroll_sideways_on_a_phone(browser, page, opened):
    open_page(browser, page, width=390)
    if opened:
        run(browser, "document.querySelectorAll('details').forEach(element => element.open = true)")
        time.sleep(0.5)
    assert run(browser, "document.documentElement.scrollWidth") <= 390
    assert run(browser, "parseFloat(getComputedStyle(document.body).fontSize)") >= 16


@pytest.mark.parametrize("script", [True, False])
def test_nothing_but_what_scrolls_is_wider_than_a_phone(browser, compared_page, script):
    open_page(browser, compared_page, width=390)
    if not script:
        run(browser, "document.documentElement.classList.remove('can-draw')")  # as if none had run
    run(browser, "document.querySelectorAll('details').forEach(element => element.open = true)")
    wide = """[...document.querySelectorAll("main *, header *, footer *")]
        .filter(e => !e.parentElement.closest(".scroller, .window, .contents, .legend, svg, .visually-hidden"))
        .filter(e => e.getClientRects().length && e.getBoundingClientRect().right > 390.5)
        .map(e => e.outerHTML.slice(0, 80))"""
    assert run(browser, wide) == []


@pytest.mark.parametrize(
    ("width", "scheme"), [(1280, "light"), (1280, "dark"), pytest.param(390, "light", marks=pytest.mark.slow)]
)
def test_axe_finds_nothing_serious(browser, small_page, width, scheme):
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    open_page(browser, small_page, width=width, scheme=scheme)
    run(browser, "document.querySelectorAll('details').forEach(element => element.open = true)")
    browser.execute_script(resources.files(axe).joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script("const done = arguments[0]; axe.run().then(r => done(r.violations))")
    serious = [
        (violation["id"], violation["nodes"][0]["html"], violation["nodes"][0]["any"][:1])
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_names_show_as_text(browser, page):
    open_page(browser, page)
    assert run(browser, "window.injected === undefined")
    shown = [button.text for button in browser.find_elements("css selector", "button.arm")]
    assert EVIL in " ".join(shown)


def test_names_show_as_text_where_plotly_writes_them(browser, page):
    open_page(browser, page)
    text = run(
        browser,
        """(plot => {
            const isEvil = trace => trace.mode === "lines+markers" && trace.name.includes("injected");
            Plotly.Fx.hover(plot, [{curveNumber: plot.data.findIndex(isEvil), pointNumber: 1}]);
            return plot.querySelector(".hoverlayer").textContent;
        })(document.querySelector("figure[data-metric=fid] .plot"))""",
    )
    assert EVIL in text.replace("\u2060", "")
    assert run(browser, "window.injected === undefined")


def test_histograms_and_heat_maps_of_a_table_are_seen(browser, page):
    open_page(browser, page)
    shown = """[...document.querySelectorAll("#tables :is(td, figure) svg")]
        .filter(e => e.getBoundingClientRect().width > 0).length"""
    assert run(browser, shown) == 4 * 4 + 3


def test_theme_button_overrides_the_system_and_redraws(browser, page):
    open_page(browser, page)
    colours = (
        "[getComputedStyle(document.body).backgroundColor, document.querySelector('.plot').data.at(-1).line.color]"
    )
    light = run(browser, colours)
    button = browser.find_element("id", "theme")
    button.click()
    assert button.text == "Theme: light"
    button.click()
    dark = run(browser, colours)
    assert button.text == "Theme: dark"
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    button.click()


def test_everything_that_scrolls_or_acts_is_reached_by_tab(browser, page):
    open_page(browser, page)
    unreachable = """[...document.querySelectorAll("button, select, summary, a, .scroller")]
        .filter(e => e.offsetParent && e.tabIndex < 0).length"""
    assert run(browser, unreachable) == 0


def test_strips_are_shown_enlarged_by_a_whole_factor(browser, page):
    open_page(browser, page)
    width, natural = run(
        browser, "(image => [image.clientWidth, image.naturalWidth])(document.querySelector('.film img'))"
    )
    assert natural == 8 * 9
    assert width % natural == 0
    assert run(browser, "getComputedStyle(document.querySelector('.film img')).imageRendering") == "pixelated"


def test_curves_of_a_family_are_drawn_once_it_is_opened_by_keyboard(browser, page):
    open_page(browser, page)
    plot = "document.querySelector('figure[data-metric=\"pca/recall\"] .plot')"
    assert run(browser, f"{plot}.data === undefined")
    summary = next(e for e in browser.find_elements("css selector", ".family summary") if "in pca" in e.text)
    summary.send_keys("\ue007")
    time.sleep(0.5)
    drawn = run(browser, f"{plot}.data.filter(t => t.mode === 'lines+markers')[0].y")
    assert np.allclose(drawn[0], 0.7)
