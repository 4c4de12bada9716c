"""Arms hold the chains that differ only in the seed, and are named by what tells them apart."""

import json

import pytest
import yaml

from collapsar.foundations.chosen import CHOICES
from collapsar.study.arms import num_choices_apart
from collapsar.study.provenance import commands
from collapsar.study.study import read_study


def arms_of(folder):
    return read_study([folder]).arms


def test_arms_of_a_sweep_are_named_by_model_and_regime(sweep):
    arms = arms_of(sweep)
    assert [arm.name for arm in arms] == ["gan, accumulate", "gan, replace", "vae, accumulate", "vae, replace"]
    assert [[chain.seed for chain in arm.chains] for arm in arms] == [
        [0, 1, 2],
        [0, 1, 2, 3],
        [0, 1, 2],
        [0, 1, 2, 3, 4],
    ]


def test_parts_that_do_not_differ_are_not_in_the_name(make_run, tmp_path):
    make_run("runs/a", regime="replace")
    make_run("runs/b", regime="accumulate")
    assert [arm.name for arm in arms_of(tmp_path / "runs")] == ["replace", "accumulate"]


def test_a_setting_that_differs_within_a_part_is_in_the_name(make_run, tmp_path):
    for share in (0.1, 0.5):
        make_run(f"runs/{share}", settings={"real_fraction": share})
    study = read_study([tmp_path / "runs"])
    assert [arm.name for arm in study.arms] == ["regime.real_fraction=0.1", "regime.real_fraction=0.5"]
    assert study.differing_settings == {"regime.real_fraction": [0.1, 0.5]}


def test_a_lone_arm_is_named_by_model_and_regime(make_run):
    assert [arm.name for arm in arms_of(make_run())] == ["vae, replace"]


def store(run, arm):
    (run / CHOICES).write_text(json.dumps({"arm": arm, "choices": {}, "settings": "a"}))


def test_a_stored_name_is_the_name_of_the_arm_and_two_studies_of_one_name_are_told_apart(make_run, tmp_path):
    for share, study in ((0.1, "a"), (0.5, "b"), (0.5, "c")):
        store(make_run(f"runs/{study}", settings={"real_fraction": share}, seed=ord(study)), "mix")
    names = [arm.name for arm in arms_of(tmp_path / "runs")]
    assert names == ["mix, regime.real_fraction=0.1", "mix, regime.real_fraction=0.5"]
    assert [arm.name for arm in arms_of(tmp_path / "runs" / "a")] == ["mix"]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"arm": 3, "choices": null, "settings": ""}'])
def test_a_damaged_file_of_choices_is_as_good_as_none(content, make_run):
    run = make_run()
    (run / CHOICES).write_text(content)
    assert [arm.name for arm in arms_of(run)] == ["vae, replace"]


def test_study_name_and_places_do_not_make_an_arm(make_run, tmp_path):
    make_run("runs/a", name="monday")
    make_run("runs/b", name="tuesday", seed=1)
    assert len(arms_of(tmp_path / "runs")) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"alarm": {"_target_": "collapsar.journal.alarm.Alarm", "action": "stop"}},
        {"objective": "final/recall"},
        {"size": "small"},
        {"training": {"_target_": "collapsar.models.plan.Plan", "gradient_clip_norm": None, "callbacks": []}},
        {"regime": {"_target_": "collapsar.elsewhere.Replace", "budget": None}},
    ],
    ids=str,
)
def test_what_does_not_bind_a_folder_does_not_make_an_arm(changes, make_run, tmp_path):
    make_run("runs/a")
    config = make_run("runs/b", seed=1) / "config.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | changes))
    assert len(arms_of(tmp_path / "runs")) == 1


def test_analytic_data_drawn_from_the_chains_own_seed_do_not_make_an_arm(make_run, tmp_path):
    for seed in range(2):
        config = make_run(f"runs/{seed}", seed=seed) / "config.yaml"
        content = yaml.safe_load(config.read_text())
        content["data"] = {"_target_": "collapsar.data.sources.analytic.GaussianSource", "seed": seed}
        config.write_text(yaml.safe_dump(content))
    assert [[chain.seed for chain in arm.chains] for arm in arms_of(tmp_path / "runs")] == [[0, 1]]


def change(config, **parts):
    content = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(content | parts))


@pytest.mark.parametrize(
    ("earlier", "present"),
    [
        ("collapsar.data.real.Digits", "collapsar.data.sources.real.Digits"),
        ("collapsar.data.analytic.Gaussian", "collapsar.data.sources.analytic.GaussianSource"),
    ],
)
def test_a_class_that_moved_or_was_renamed_does_not_make_an_arm(earlier, present, make_run, tmp_path):
    for seed, target in enumerate((earlier, present)):
        change(make_run(f"runs/{seed}", seed=seed) / "config.yaml", data={"_target_": target})
    assert [[chain.seed for chain in arm.chains] for arm in arms_of(tmp_path / "runs")] == [[0, 1]]


def test_classes_within_a_list_are_known_by_their_names_too(make_run, tmp_path):
    for seed, module in enumerate(("data.analytic", "data.sources.analytic")):
        name = "Gaussian" if seed == 0 else "GaussianSource"
        causes = [{"_target_": f"collapsar.{module}.{name}"}]
        change(make_run(f"runs/{seed}", seed=seed) / "config.yaml", causes=causes)
    assert len(arms_of(tmp_path / "runs")) == 1


def test_settings_that_are_null_or_empty_do_not_make_an_arm(make_run, tmp_path):
    make_run("runs/before")
    change(make_run("runs/after", seed=1) / "config.yaml", lever=[], cause=None, correction={})
    assert len(arms_of(tmp_path / "runs")) == 1


def test_settings_that_follow_from_the_model_are_not_choices_of_their_own(sweep):
    study = read_study([sweep])
    arms = study.arms
    assert "trainer.max_steps" in study.differing_settings
    assert list(arms[0].distinctions) == ["model", "regime"]
    assert num_choices_apart(arms[0], arms[1]) == 1
    assert num_choices_apart(arms[0], arms[3]) == 2


def test_arms_of_two_sizes_are_told_apart_by_the_size_alone(make_run, tmp_path):
    make_run("runs/small")
    change(make_run("runs/full") / "config.yaml", size="full", batch_size=128)
    assert sorted(arm.name for arm in arms_of(tmp_path / "runs")) == ["size=full", "size=small"]


def test_arms_of_two_bodies_are_told_apart_by_the_body_alone(make_run, tmp_path):
    for body, batch_size in (("conv", 64), ("patch", 128)):
        model = {"_target_": "collapsar.models.vae.vae.VAE", "body": body}
        change(make_run(f"runs/{body}") / "config.yaml", model=model, batch_size=batch_size)
    assert sorted(arm.name for arm in arms_of(tmp_path / "runs")) == ["model.body=conv", "model.body=patch"]


def test_a_body_that_follows_from_the_model_is_not_a_choice_of_its_own(make_run, tmp_path):
    for model, body in (("gan", "sn_conv"), ("vae", "patch")):
        change(make_run(f"runs/{model}", model=model) / "config.yaml", model={"_target_": "a.Model", "body": body})
    assert [arm.name for arm in arms_of(tmp_path / "runs")] == ["gan", "vae"]


def test_a_seed_that_ran_twice_counts_once_and_the_longer_chain_counts(make_run, tmp_path):
    make_run("runs/a", num_finished=3)
    make_run("runs/b")
    arm = arms_of(tmp_path / "runs")[0]
    assert len(arm.chains) == 2
    assert [len(chain.records) for chain in arm.distinct] == [8]


def test_a_full_grid_is_reproduced_by_one_multirun(make_run, tmp_path):
    for seed in range(2):
        for regime in ("replace", "accumulate"):
            make_run(f"runs/{regime}{seed}", regime=regime, seed=seed)
    found = commands(arms_of(tmp_path / "runs"))
    assert found == ["collapsar -m data=digits model=vae regime=accumulate,replace seed=0,1 num_generations=8"]


def test_what_was_typed_is_what_reproduces_a_run(make_run):
    run = make_run()
    (run / ".hydra").mkdir()
    (run / ".hydra" / "overrides.yaml").write_text(json.dumps(["model=vae", "name=two words", "seed=0"]))
    assert commands(arms_of(run)) == ["collapsar model=vae 'name=two words' seed=0"]
