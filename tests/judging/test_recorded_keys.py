"""Every key that a run records is in the table of metric keys, every key of the table is recorded, and bounds hold."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from collapsar.cases.tables.numerals import typed
from collapsar.data.real_data import KnownModes, RealData
from collapsar.foundations.samples import Samples
from collapsar.judging import metric_keys
from collapsar.judging.metric_keys import METRICS, Metric, MetricKey, bounds_of, find_metric, split_key, title_of
from collapsar.theory.fitted import fitted_values
from mixed_tables import KINDS, mixed_rows, mixed_table
from tiny_chains import compose_settings

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """`evaluation=full`, with a spread of every group over batches, and networks trained for an instant."""
    node = OmegaConf.load(CONF / "evaluation" / "standard.yaml")
    node.metrics = OmegaConf.load(CONF / "evaluation" / "full.yaml").metrics
    node.metrics.extend(["variance_within_modes", "support_sensitivity"])
    node.batch_metrics = [group for group in node.metrics if group != "downstream"]
    node.spaces.classifier = OmegaConf.load(CONF / "stick" / "digits.yaml")
    node.spaces.self_supervised = OmegaConf.load(CONF / "space" / "self_supervised.yaml")
    node.spaces.self_supervised.budget.num_steps, node.spaces.self_supervised.min_accuracy = 2, 0.0
    node.downstream.budget.num_steps = 120
    node.accelerator, node.cache_folder = "cpu", str(tmp_path_factory.mktemp("spaces"))
    return instantiate(node, _convert_="object")


@pytest.fixture(scope="module")
def digits_evaluator(digits, settings):
    return settings.prepare(digits)


@pytest.fixture(scope="module")
def perfect(digits, digits_evaluator):
    drawn = Samples(digits.train.values)
    return digits_evaluator.evaluate(drawn, seed=0, generation=0, pool=digits.train[720:]).metrics


@pytest.fixture(scope="module")
def of_ring(settings):
    generator = torch.Generator().manual_seed(0)
    angles = torch.arange(8) * math.pi / 4
    centres = torch.stack([angles.cos(), angles.sin()], 1)
    modes = torch.randint(8, (1500,), generator=generator)
    points = Samples(centres[modes] + 0.01 * torch.randn(1500, 2, generator=generator), modes)
    real = RealData(points[:500], points[500:1000], num_classes=8, known_modes=KnownModes(centres, 0.01))
    drawn = Samples(points[1000:].values)
    return settings.prepare(real).evaluate(drawn, seed=0, generation=0, pool=real.train).metrics


@pytest.fixture(scope="module")
def of_table(settings):
    rows = typed(mixed_rows(900), KINDS)
    table = mixed_table(rows[:400])
    samples = Samples(table.encode(rows), table.classes(table.encode(rows)))
    measured = OmegaConf.load(CONF / "table_metrics" / "default.yaml")
    measured.task.subgroup, measured.task.num_trees = "sex", 5
    real = RealData(samples[:400], samples[400:700], num_classes=2, table=table)
    evaluator = replace(settings, metrics=[], batch_metrics=[], table=instantiate(measured, _convert_="object"))
    return evaluator.prepare(real).evaluate(samples[600:], seed=0, generation=0).metrics


@pytest.fixture(scope="module")
def scenes():
    sizes = ("data.num_train=1500", "data.num_test=700", "data.num_reserve=700")
    return instantiate(compose_settings("data=scenes", *sizes).data, _convert_="object").load()


@pytest.fixture(scope="module")
def of_scenes(scenes, settings):
    stick = instantiate(OmegaConf.load(CONF / "stick" / "scenes.yaml"), _convert_="object")
    evaluator = replace(settings, spaces={"classifier": stick, "pca": settings.spaces["pca"]}).prepare(scenes)
    return evaluator.evaluate(Samples(scenes.reserve.values), seed=0, generation=0, pool=scenes.train).metrics


@pytest.fixture(scope="module")
def of_fitted():
    """Parameters of each kind of analytic model, as a generation's record holds them."""
    found = {}
    for data, fitted in (
        ("gaussian", {"mean": [0.1, 0.0, 0.0], "variance": [0.9, 1.1, 1.0]}),
        ("categorical", {"probabilities": [[0.5, 0.5, 0.0]]}),
        ("linear_regression", {"coefficients": [[0.4], [0.8]]}),
    ):
        found |= fitted_values(fitted, data=data)
    return found


def better(key):
    metric = find_metric(key)
    return metric.better if metric else None


@pytest.fixture(scope="module")
def recorded(perfect, of_ring, of_table, of_scenes, of_fitted):
    of_a_vae = {"first_encoder_sd": 0.7}  # by `chain.run`, see tests/chain/test_first_encoder.py
    return [perfect, of_ring, of_table, of_scenes, of_fitted, of_a_vae]


def test_every_recorded_key_is_in_the_table(recorded):
    assert [key for metrics in recorded for key in metrics if find_metric(key) is None] == []


def test_every_key_of_the_table_is_recorded(recorded):
    found = {find_metric(key.replace("_class_7", "_class_0")) for metrics in recorded for key in metrics}
    titles = {metric.title for metric in found if metric}
    told = [metric.title.format(index=0, name="night") for metric in metric_keys.metric_keys().values()]
    assert [title for title in told if title not in titles] == []


def test_titles_tell_metrics_apart():
    assert len({metric.title for metric in metric_keys.metric_keys().values()}) == len(metric_keys.metric_keys())


def test_every_recorded_value_lies_within_its_bounds(recorded):
    beyond = [
        (key, value)
        for metrics in recorded
        for key, value in metrics.items()
        if not bounds_of(key)[0] - 1e-9 <= value <= bounds_of(key)[1] + 1e-9
    ]
    assert beyond == []


def test_floors_and_intervals_are_recorded_in_every_space(perfect):
    parts = [split_key(key) for key in perfect]
    assert {part.suffix for part in parts} == {"", "_floor", "_low", "_high"}
    assert {part.space for part in parts} == {"", "pca", "self_supervised"}
    for key, value in perfect.items():
        if f"{key}_low" in perfect:
            assert perfect[f"{key}_low"] <= value <= perfect[f"{key}_high"], key


def test_a_worse_generator_moves_metrics_the_way_the_table_says(digits, digits_evaluator, perfect):
    """Noise, lost classes and copies: by one of them at least, each metric gets worse than that of real samples."""
    values, labels = digits.train.values, digits.train.labels
    noise = torch.randint(256, values.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    faults = {"noise": noise, "lost classes": values[labels < 5], "copies": values[:10].repeat(36, 1, 1, 1)}
    worse = set()
    for drawn in faults.values():
        metrics = digits_evaluator.evaluate(Samples(drawn), seed=0, generation=0, pool=Samples(drawn)).metrics
        for key in perfect.keys() & metrics.keys():
            change = metrics[key] - perfect.get(f"{key}_floor", perfect[key])
            if (change < 0 and better(key) == "higher") or (change > 0 and better(key) == "lower"):
                worse.add(key)
    expected = {key for key in perfect if better(key) and not split_key(key).suffix}
    assert sorted(expected - worse) == []


SPREAD = {"pixel_sd": MetricKey("Spread of pixels", metric_keys.DIVERSITY, (0.0, 0.5))}


def spread_of_pixels(comparison):
    return {"pixel_sd": float(comparison.features.std())}


def test_a_new_metric_is_a_function_an_entry_in_the_table_and_a_line_of_settings(digits, settings, monkeypatch):
    monkeypatch.setitem(METRICS, "pixels", Metric(measure=f"{__name__}:spread_of_pixels", keys=SPREAD))
    chosen = {"spaces": {"pca": settings.spaces["pca"]}, "metrics": ["pixels"], "batch_metrics": ["pixels"]}
    evaluator = replace(settings, **chosen).prepare(digits)
    metrics = evaluator.evaluate(Samples(digits.train.values), seed=0, generation=0).metrics
    assert set(metrics) == {"pixel_sd", "pixel_sd_floor", "pixel_sd_low", "pixel_sd_high"}
    assert title_of("pixel_sd") == "Spread of pixels"
    assert metrics["pixel_sd_high"] <= 0.5
