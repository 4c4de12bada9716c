"""The training bench: what it counts is right, its ways step one network, and it measures all that it promises."""

import io
import json
import math
import os
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console
from torch import nn

from benchmarks import quality as quality_module
from benchmarks.__main__ import main
from benchmarks.by_hand import MATRIX_SIDE, hand_steps, matrix_flops, step_flops
from benchmarks.composed import Case, has_files, ready_recipe, training_images
from benchmarks.processes import fresh_processes
from benchmarks.quality import SHIPPED, Watch, measure_quality, old_experiment
from benchmarks.tables import training_tables
from benchmarks.ways import WARM_STEPS, WAYS, Clock, Enough
from collapsar.data.pool import REAL, Part, Pool
from collapsar.data.sources.real import MNIST
from collapsar.models.course import Player
from collapsar.models.learned import LearnedModel
from collapsar.training.train import train
from tiny_chains import TINY

CPU = torch.device("cpu")
KEYS = {"images_per_second", "precision", "matrix_flops", "matrix_share", "peak_bytes", "peak_device_bytes"}


class Affine(LearnedModel):
    """A linear layer of 64 inputs and 3 outputs, whose second player moves with every other step."""

    name = "affine"

    def __init__(self):
        super().__init__(sample_shape=[1, 8, 8], latent_dim=3)
        self.first, self.second = nn.Linear(64, 3, bias=False), nn.Linear(64, 3, bias=False)

    def players(self):
        return [
            Player(module=part, losses=partial(self.losses, part), learning_rate=0.1, steps_per_move=steps)
            for part, steps in ((self.first, 1), (self.second, 2))
        ]

    def losses(self, part, batch, shared):
        return {"loss": part(batch.values.flatten(1).float()).sum()}

    def decode(self, latents, generator, *, likelihood_spread):
        raise NotImplementedError


def recipe_of(model, *, max_steps=1, data="digits"):
    """The shipped recipe of a model in float32 on the CPU, for so many steps."""
    case = Case(data=data, model=model, overrides=("trainer.accelerator=cpu", "trainer.precision=32-true"))
    recipe = ready_recipe(case.composed()[0])
    return replace(recipe, trainer=partial(recipe.trainer, max_steps=max_steps))


def digits():
    return training_images(Case(data="digits", model="vae").composed()[0].data, is_random=True)


# Arithmetic


def test_operations_of_a_linear_layer_are_those_counted_by_hand():
    recipe = replace(recipe_of("vae"), model=Affine, batch_size=16)
    forward = 2 * 16 * 64 * 3
    one_player = 2 * forward  # and the gradient of the weights; inputs need none
    assert step_flops(recipe, digits().values) == one_player * (1 + 1 / 2)


def test_the_best_of_the_machine_is_what_a_product_takes(monkeypatch):
    monkeypatch.setitem(MATRIX_SIDE, "cpu", 8)
    ticks = iter([0.0, 2.0, 10.0, 11.0])
    monkeypatch.setattr("benchmarks.by_hand.now", lambda device: next(ticks))
    times = iter([0.0, 0.0, 0.0, 9.0])
    monkeypatch.setattr("benchmarks.by_hand.time", SimpleNamespace(perf_counter=lambda: next(times)))
    assert matrix_flops("32-true", CPU) == 2 * 8**3 / 1.0


# Ways


@pytest.mark.parametrize("model", ["vae", "gan"])
def test_the_loop_by_hand_and_ours_see_the_same_losses_at_the_first_step(model):
    recipe, samples = recipe_of(model), digits()
    by_hand = next(hand_steps(recipe, samples.values))
    pool = Pool((Part(samples, REAL),))
    ours = train(recipe, pool, seed=0, generation=0, on_steps=lambda epoch, steps: None).summary
    assert by_hand
    assert {name: loss.item() for name, loss in by_hand.items()} == pytest.approx(
        {name: ours[name] for name in by_hand}, rel=1e-6
    )


@pytest.mark.parametrize("way", WAYS)
def test_each_way_stops_when_its_steps_are_timed(way):
    clock = Clock(2 * WARM_STEPS, CPU)
    with pytest.raises(Enough):
        WAYS[way](recipe_of("gan", max_steps=100), digits(), clock)
    assert [num_done for num_done, _ in clock.marks] == [WARM_STEPS, 2 * WARM_STEPS]


def test_a_clock_counts_the_steps_between_its_marks(monkeypatch):
    times = iter([5.0, 9.0])
    monkeypatch.setattr("benchmarks.ways.now", lambda device: next(times))
    clock = Clock(100, CPU)
    for num_done in range(1, 100):
        clock.tick(num_done)
    with pytest.raises(Enough):
        clock.tick(100)
    assert clock.steps_per_second == 80 / 4


def test_images_that_are_not_there_are_random_ones_of_the_same_shape(tmp_path):
    source = MNIST(sample_shape=[1, 28, 28], num_train=None, root=str(tmp_path))
    assert not has_files(source)
    samples = training_images(source, is_random=True)
    assert samples.values.shape[1:] == (1, 28, 28)
    assert samples.values.float().mean() == pytest.approx(127.5, abs=1)


# Quality


@pytest.mark.parametrize(("model", "num_parameters"), [("vae", 220_385), ("gan", 511_203)])
def test_recipes_of_version_0_2_have_the_networks_of_then(model, num_parameters):
    network = old_experiment(Case(data="mnist", model=model)).model()
    assert sum(weight.numel() for weight in network.parameters()) == num_parameters


@pytest.mark.parametrize("model", ["vae", "gan"])
def test_recipes_of_version_0_2_lower_their_loss(model):
    old = old_experiment(Case(data="mnist", model=model))
    images = torch.zeros(640, 1, 28, 28, dtype=torch.uint8)
    steps = hand_steps(ready_recipe(old), images)
    losses = [next(iter(next(steps).values())).item() for _ in range(30)]
    assert losses[-1] < losses[0]


def test_scoring_is_outside_the_clock(monkeypatch):
    times = iter([0.0, 3.0, 100.0, 102.0, 200.0, 203.0, 203.0])
    monkeypatch.setattr(quality_module, "time", SimpleNamespace(perf_counter=lambda: next(times)))
    watch = Watch(lambda model: {"precision": 0.9, "recall": 0.7}, due=lambda step: step != 60)
    watch.noting(recipe_of("vae")).model()
    for step in (20, 40, 60):
        watch.on_steps(0, step)
    assert [(look.step, look.seconds) for look in watch.looks] == [(20, 3.0), (40, 5.0)]
    assert not watch.looks[0].is_good


def test_a_recipe_is_looked_at_when_its_budget_is_spent(tiny):
    case = Case(data="digits", model="vae", overrides=(*tiny, "trainer.max_steps=40"))
    quality = measure_quality(case, SHIPPED)
    (look,) = quality.looks
    assert look.step == 40
    assert 0 <= look.recall <= 1
    assert quality.good_after_seconds is None or look.is_good


# The whole


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The JSON of a quick run on digits."""
    path = tmp_path_factory.mktemp("bench") / "bench.json"
    spaces = tmp_path_factory.mktemp("spaces")
    tiny = [override for override in TINY if not override.startswith(("trainer.max_steps", "num_generations"))]
    assert main([
        "training", "--quick", "--data", "digits", "--models", "vae", "--json", str(path),
        *tiny, f"evaluation.cache_folder={spaces}",
    ]) == 0  # fmt: skip
    return json.loads(path.read_text())


def numbers(node):
    """All numbers below a node."""
    if isinstance(node, dict):
        return [number for value in node.values() for number in numbers(value)]
    return [float(node)] if isinstance(node, (int, float)) and not isinstance(node, bool) else []


def test_a_quick_run_measures_every_way_and_phase(measured):
    (case,) = measured["cases"]
    assert set(case["ways"]) == {"plain", "lightning", "by_hand", "ours"}
    assert all(set(found) == KEYS for found in case["ways"].values())
    assert set(case["phase_seconds"]) == set(case["phase_shares"]) == {"train", "sample", "evaluate", "store", "other"}
    assert measured["quality"] == []


def test_all_numbers_of_a_quick_run_are_finite_and_positive(measured):
    (case,) = measured["cases"]
    ways = [{key: value for key, value in way.items() if key != "peak_device_bytes"} for way in case["ways"].values()]
    found = [*numbers({**case, "ways": {}}), *(number for way in ways for number in numbers(way))]
    assert len(found) > 20
    assert all(math.isfinite(number) and number > 0 for number in found)


def test_shares_of_a_generation_sum_to_one(measured):
    assert sum(measured["cases"][0]["phase_shares"].values()) == pytest.approx(1)


def test_tables_show_what_was_measured(measured):
    quality = {
        "data": "mnist", "model": "vae", "recipe": "version 0.2", "good_after_seconds": None,
        "looks": [{"step": 200, "seconds": 4.0, "precision": 0.5, "recall": 0.25}],
    }  # fmt: skip
    console = Console(width=80, record=True, file=io.StringIO())
    for table in training_tables({**measured, "quality": [quality]}):
        console.print(table)
    text = console.export_text()
    assert all(word in text for word in (*WAYS, "32-true", "evaluate", "never", "4.0 s", "0.25"))


def test_each_measurement_has_a_process_of_its_own():
    with fresh_processes() as fresh:
        assert len({fresh(os.getpid), fresh(os.getpid), os.getpid()}) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--repeats", "0"], "repeats must be at least 1: got 0"),
        (["--data", "nope"], "Could not find 'data/nope'"),
        (["--data", "gaussian", "--models", "gaussian"], "models must be among those that are trained in steps"),
    ],
)
def test_what_cannot_be_measured_is_one_line_and_exit_code_2(options, message, capsys):
    assert main(["training", "--quick" if options[0] != "--repeats" else "--json=x", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_effort_is_told(measured):
    assert measured["effort"] == {"repeats": 1, "is_quick": True, "num_steps": 15}
