"""The page holds the numbers of the records, needs nothing else, and lets no name act as markup."""

import base64
import gzip
import html
import io
import json
import re
import subprocess
import sys
import time
from importlib import metadata

import numpy as np
import pytest
import yaml
from planted_runs import write_records
from rich.console import Console

from collapsar.report.page import write_report
from collapsar.report.sections.films import TOTAL_BYTES, film_strip
from collapsar.report.tables import report_tables
from collapsar.report.templating import PLOTLY, breakable, with_asides
from collapsar.study.chains import read_chains
from collapsar.study.study import read_study

# The kernel's own peak of the process, in kB: getrusage would also count the memory of the test that started it.
REPORT_ITS_PEAK = """
import pathlib, sys
from collapsar.report.__main__ import main
from collapsar.study.study import read_study
code = main(sys.argv[1:])
print(*[line for line in pathlib.Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")])
sys.exit(code)
"""


def content_of(page):
    return json.loads(re.search(r'<script type="application/json" id="content">(.*?)</script>', page, re.DOTALL)[1])


def sections_of(page):
    """The HTML of each section by name."""
    return dict(re.findall(r'<section id="([^"]+)"(.*?)</section>', page, re.DOTALL))


def test_numbers_of_the_page_equal_the_records_to_the_last_digit(sweep, tmp_path):
    page = write_report([sweep], tmp_path / "page.html").read_text()
    drawn = {chain["label"]: chain for chain in content_of(page)["chains"]}
    for chain in read_chains([sweep]):
        for position, record in enumerate(chain.records):
            for key, value in record.metrics.items():
                series = drawn[chain.label]["metrics"][key]
                assert (series[position] if isinstance(series, list) else series) == value
            assert f"<td>{record.metrics['fid']!r}</td>" in page


def test_curve_of_a_single_seed_is_the_record_itself(make_run, tmp_path):
    run = make_run()
    curves = content_of(write_report([run], tmp_path / "page.html").read_text())["curves"]
    recorded = [json.loads(line)["metrics"]["fid"] for line in (run / "records.jsonl").read_text().splitlines()]
    assert curves["fid"][0]["mean"] == recorded
    assert curves["fid"][0]["low"] == [None] * 8


def test_page_fetches_nothing(sweep, tmp_path):
    page = write_report([sweep], tmp_path / "page.html").read_text()
    without_scripts = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r'(?:src|href|url)\s*[=(]\s*["\']?\s*(?:https?:)?//', without_scripts)
    assert "default-src 'none'" in page


def test_page_carries_the_installed_plotly_once_with_its_notice(sweep, tmp_path):
    page = write_report([sweep], tmp_path / "page.html").read_text()
    ((notice, text),) = re.findall(r'<script type="text/plain" id="plotly" data-notice="(.*?)">(.*?)</script>', page)
    assert re.match(r"plotly.js v\d+\.\d+\.\d+; Copyright \S+, Plotly, Inc\.; .*MIT license", notice)
    script = gzip.decompress(base64.b64decode(text, validate=True))
    assert script == metadata.distribution("plotly").locate_file(PLOTLY).read_bytes()


def test_a_reader_without_scripts_is_told_why_there_are_no_curves(sweep, tmp_path):
    page = write_report([sweep], tmp_path / "page.html").read_text()
    assert page.count('id="no-charts"') == 1
    assert '<html lang="en">' in page  # without the class that a script gives it, the notice shows


def test_names_cannot_inject_markup(make_run, tmp_path):
    evil = "<script>alert(1)</script>"
    make_run("runs/one", name=evil, settings={"note": "</script><img src=x onerror=alert(2)>"})
    run = make_run("runs/<img src=x>", name=evil, settings={"note": "'\"><b>&amp;"}, num_finished=2)
    (run / "status.json").write_text(json.dumps({"state": "<img src=x>", "message": evil}))
    (run / "versions.json").write_text(json.dumps({evil: "<img src=x>"}))
    page = write_report([tmp_path / "runs"], tmp_path / "page.html").read_text()
    assert "<script>alert(1)" not in page
    assert "<img src=x" not in page
    assert f"<h1>{html.escape(evil)}</h1>" in page.replace("<wbr>", "")
    assert html.escape(f"<img src=x> after 2 of 8 generations: {evil}") in page


def test_charts_without_anything_to_draw_are_left_out(make_run, tmp_path):
    run = make_run(with_images=False)
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    for record in records:
        del record["class_shares"], record["metrics"]["precision"]
    write_records(run, records)
    page = write_report([run], tmp_path / "page.html").read_text()
    assert not re.search(r'data-chart="(path|survival)"', page)


def test_unfinished_and_failed_runs_are_listed(sweep, tmp_path):
    page = write_report([sweep], tmp_path / "page.html").read_text()
    assert "3 of 15 runs are not finished" in page
    assert "failed after 2 of 8 generations: loss is NaN at generation 2, epoch 1, step 17" in page


def test_a_run_without_any_record_still_makes_a_page(make_run, tmp_path):
    page = write_report([make_run(num_finished=0)], tmp_path / "page.html").read_text()
    assert "no answer" in page
    assert "unfinished after 0 of 8 generations" in page


def test_missing_and_truncated_samples_leave_a_page_without_those_pictures(make_run, tmp_path):
    run = make_run()
    (run / "generation_002" / "samples.npz").unlink()
    samples = run / "generation_005" / "samples.npz"
    samples.write_bytes(samples.read_bytes()[:100])
    write_report([run], tmp_path / "page.html")
    strip = film_strip(read_chains([run])[0], num_chains=1)
    assert strip.generations == (0, 1, 3, 4, 6, 7)


def test_vector_data_and_runs_without_classes_make_a_page(make_run, tmp_path):
    run = make_run(with_images=False)
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    for record in records:
        del record["class_shares"], record["metrics"]["classes_dropped"], record["metrics"]["precision"]
        place = run / f"generation_{record['generation']:03d}"
        place.mkdir()
        np.savez(place / "samples.npz", samples=np.zeros((5, 2), np.float32), strip=np.zeros((5, 2), np.float32))
    write_records(run, records)
    page = write_report([run], tmp_path / "page.html").read_text()
    assert 'id="films"' not in page
    assert 'data-metric="classes_dropped"' not in page


def test_no_law_is_drawn_for_images(make_run, tmp_path):
    page = write_report([make_run()], tmp_path / "page.html").read_text()
    assert not any(content_of(page)["laws"].values())
    assert "<b>Law</b>" not in page


def test_every_curve_has_its_place_and_scores_by_class_are_a_heat_map(make_run, tmp_path):
    run = make_run()
    records = [json.loads(line) for line in (run / "records.jsonl").read_text().splitlines()]
    for record in records:
        scores = {f"pca/recall_class_{label}": 0.5 * 0.6 ** record["generation"] for label in range(10)}
        record["metrics"] |= scores | {"coverage": 0.8, "pca/trace_ratio_floor": 1.0, "something_new": 1.0}
    write_records(run, records)
    page = write_report([run], tmp_path / "page.html").read_text()
    charts = re.findall(r'data-metric="(.*?)"', page)
    assert charts == [
        *("fid", "precision", "recall", "coverage", "classes_dropped"),
        *("pca/recall", "pca/trace_ratio", "class_entropy", "something_new"),
    ]
    assert "Diversity, in pca" in page
    assert "Recall (pca) by class" in page
    last = 100 * 0.5 * 0.6**7
    assert page.count(f'<td class="dead" style="--s:97">{last:.0f}</td>') == 10


def test_two_settings_make_a_phase_map(make_run, tmp_path):
    for share in (0.1, 0.5):
        for lag in (1, 2):
            make_run(f"runs/{share}-{lag}", settings={"real_fraction": share, "lag": lag}, with_images=False)
    page = write_report([tmp_path / "runs"], tmp_path / "page.html").read_text()
    assert "Final Recall, regime.lag down, regime.real_fraction across" in page


def test_film_strips_of_colour_images_share_the_bytes_of_a_page(make_run):
    run = make_run(num_generations=20, with_images=False)
    noise = np.random.default_rng(0)
    for generation in range(20):
        (run / f"generation_{generation:03d}").mkdir()
        strip = noise.integers(0, 256, (12, 3, 32, 32), dtype=np.uint8)
        np.savez(run / f"generation_{generation:03d}" / "samples.npz", strip=strip)
    strip = film_strip(read_chains([run])[0], num_chains=24)
    assert strip.generations[0] == 0
    assert strip.generations[-1] == 19
    assert len(strip.uri) < 1.4 * TOTAL_BYTES / 24


def test_of_many_chains_the_first_seeds_of_each_arm_have_pictures_and_the_page_says_so(make_run, tmp_path):
    for number in range(26):
        regime = ("replace", "accumulate")[number % 13 == 0]
        make_run(f"runs/{number}", seed=number, regime=regime, num_generations=2)
    page = write_report([tmp_path / "runs"], tmp_path / "page.html").read_text()
    assert {name: content.count("<img ") for name, content in sections_of(page).items()} == {
        **dict.fromkeys(sections_of(page), 0),
        "reels": 3,
        "films": 24,
        "nearest": 24,
    }
    assert page.count("24 of 26 chains are shown") == 4
    assert "decoded in generations 0 to 1" in page
    assert "latents of accumulate, seed 13" in page


def test_the_same_runs_give_the_same_page(make_run, tmp_path):
    run = make_run()
    first = write_report([run], tmp_path / "page.html").read_bytes()
    assert write_report([run], tmp_path / "page.html").read_bytes() == first


def test_terminal_table_shows_names_as_they_are_and_lists_what_is_unfinished(sweep):
    for config in sweep.glob("gan-replace-*/config.yaml"):
        content = yaml.safe_load(config.read_text())
        content["regime"]["note"] = "[bold]x[/bold]"
        config.write_text(yaml.safe_dump(content))
    output = io.StringIO()
    Console(width=160, file=output).print(report_tables(read_study([sweep])))
    text = output.getvalue()
    assert "note=" not in text  # the regime already tells the arms apart
    assert "unfinished after 4 of 8 generations" in text
    assert "vae, replace" in text


@pytest.mark.slow
def test_page_of_24_chains_of_20_generations_is_below_8_megabytes(tmp_path, make_run):
    for number in range(24):
        regime = ("replace", "accumulate")[number % 2]
        make_run(f"runs/{number}", seed=number // 2, regime=regime, num_generations=20, num_more_metrics=75)
    assert write_report([tmp_path / "runs"], tmp_path / "page.html").stat().st_size < 8_000_000


@pytest.mark.slow
def test_200_chains_take_less_than_a_minute_and_a_gigabyte(tmp_path, make_run):
    for number in range(200):
        regime = ("replace", "accumulate")[number % 2]
        settings = {"real_fraction": number // 20 / 10}
        more = {"num_generations": 20, "settings": settings, "num_more_metrics": 75}
        make_run(f"runs/{number}", seed=number % 20 // 2, regime=regime, **more)
    start = time.perf_counter()
    command = [sys.executable, "-c", REPORT_ITS_PEAK, str(tmp_path / "runs"), "-o", str(tmp_path / "page.html")]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert time.perf_counter() - start < 60
    assert int(output.split()[-2]) * 1024 < 1e9


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("replace, lever=warm_start", "replace, lever=<wbr>warm_<wbr>start"),
        ("mix, regime.real_fraction=0.1", "mix, regime.<wbr>real_<wbr>fraction=<wbr>0.1"),
        ("<b>_x", "&lt;b&gt;_<wbr>x"),
    ],
)
def test_names_may_wrap_between_their_words(name, shown):
    assert breakable(name) == shown


def test_what_stands_in_brackets_is_set_back():
    said = "Both collapsed: a_b (2 seeds, 1 % [0, 1] left); <c> (1 seed)."
    assert with_asides(said) == (
        'Both collapsed: a_<wbr>b <span class="aside">(2 seeds, 1 % [0, 1] left)</span>; &lt;c&gt; '
        '<span class="aside">(1 seed)</span>.'
    )
