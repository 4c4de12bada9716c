"""Scores of samples of one's own: the real side, floor, sticks, spaces, tables, several sets, the command."""

import json
import logging
import os
import sys
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

import collapsar.scoring.measure as measure
from collapsar.data.real_data import RealData
from collapsar.foundations.errors import UsageError
from collapsar.judging.spaces.base import FeatureSpace, FittedSpace
from collapsar.scoring import score
from collapsar.scoring.parts import Options, evaluation_of, made
from collapsar.scoring.yardstick import StickOfItsData
from tiny_tables import people


def test_against_a_data_set_the_held_out_part_and_its_stick_are_taken(images, quick):
    values, labels = images
    found = quick((values[:500], labels[:500]), "digits")
    assert found.sets[0].sizes.startswith("360 of 500 synthetic samples against 360 of the held-out part of digits")
    assert found.sets[0].spaces == "digits_stick (64 features), pca/"
    assert {"fid", "fid_floor", "fid_low", "fid_high", "recall_class_9", "classes_dropped"} <= found.metrics.keys()


def test_a_random_part_of_a_sorted_set_is_measured(images, quick):
    values, labels = images
    by_class = values[np.argsort(labels, kind="stable")]
    found = quick(by_class, "digits")
    assert found.metrics["classes_dropped"] == 0
    assert "synthetic: 360 of 1797 samples measured, chosen at random" in found.notes
    assert "chosen at random" in repr(found)


def test_against_ones_own_samples_pca_is_taken_and_the_floor_has_as_many_others(images, quick):
    values, _ = images
    found = quick(values[:200], values[200:700])
    assert found.sets[0].spaces == "pca (64 features)"
    assert found.sets[0].sizes == (
        "200 synthetic samples against 200 of 500 of real; floor: 200 real samples against 200 others"
    )
    assert found.metrics["recall_floor"] > 0.6


def test_without_further_real_samples_the_floor_is_of_two_halves_and_says_so(images, quick):
    values, _ = images
    found = quick(values[:300], values[300:600])
    assert "floor: 150 real samples against 150 others, fewer than measured" in found.sets[0].sizes
    assert found.sets[0].scores.num_real == 300


def test_the_training_set_gives_floor_and_memorisation(images, quick):
    values, _ = images
    options = {"train": values[600:1000], "settings": ["evaluation.metrics=[frechet,novelty]"]}
    copied = quick(values[600:900], values[:300], **options)
    assert copied.sets[0].yardstick.floor_size == 300
    assert copied.metrics["duplicates"] == 1.0
    assert quick(values[1000:1300], values[:300], **options).metrics["duplicates"] < 0.1


def test_a_shipped_stick_measures_ones_own_samples_with_and_without_labels(images, quick):
    values, labels = images
    without = quick(values[:200], values[200:600], stick="digits")
    assert without.sets[0].spaces == "digits_stick (64 features), pca/"
    assert "recall_class_0" not in without.metrics
    assert without.metrics["classes_dropped"] == 0
    with_labels = quick(values[:200], (values[200:600], labels[200:600]), stick="digits")
    assert with_labels.metrics["fid"] == without.metrics["fid"]
    assert "recall_class_0" in with_labels.metrics


def test_a_stick_is_trained_on_labelled_samples_and_kept(images, quick, tmp_path):
    values, labels = images
    chosen = {
        "stick": "train",
        "settings": [
            f"evaluation.cache_folder={tmp_path}",
            "evaluation.spaces.classifier.budget.num_steps=60",
            "evaluation.spaces.classifier.min_accuracy=0.5",
        ],
    }
    found = quick(values[:200], (values[200:1000], labels[200:1000]), **chosen)
    assert found.sets[0].spaces.startswith("classifier (64 features)")
    (kept,) = tmp_path.glob("classifier-*.pt")
    written = kept.stat().st_mtime_ns
    assert quick(values[:200], (values[200:1000], labels[200:1000]), **chosen).metrics == found.metrics
    assert kept.stat().st_mtime_ns == written


def test_a_stick_that_another_data_set_trains_does_not_see_the_samples(images, digits, tmp_path):
    settings = ["evaluation.spaces.classifier.budget.num_steps=20", "evaluation.spaces.classifier.min_accuracy=0.0"]
    config, evaluation = evaluation_of("digits", Options(stick="train", evaluation="quick", settings=settings))
    trained, source = evaluation.spaces["classifier"], made("data", config.data)
    real = RealData(digits.test, digits.test, num_classes=10)
    fit = {"device": torch.device("cpu"), "cache_dir": tmp_path}
    found = StickOfItsData(stick=trained, source=source).fit(real, **fit)
    assert found.content_hash == trained.fit(source.load().for_sticks(), **fit).content_hash


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stick": "cifar10"}, r"the cifar10 stick measures samples of shape \[3, 32, 32\], and REAL has \[1, 8, 8\]: --stick must be digits, train"),  # noqa: E501
        ({"stick": "imagenet"}, "--stick must be one of cifar10, digits"),
        ({"stick": "train"}, "--stick train needs real with labels"),
        ({"space": "vgg"}, "--space must be one of dinov2, .*pca.*: got vgg"),
        ({"space": "identity"}, "none of the feature spaces identity suits this data"),
        ({"settings": ["model.width=8"]}, "--set takes settings of data. and evaluation.: got model.width=8"),
        ({"settings": ["evaluation.num_neighbors=8"]}, "num_neighbors"),
        ({"settings": ["evaluation.num_neighbours=600"]}, "num_neighbours must be below the number of samples"),
        ({"resize": 0}, "resize must be at least 1"),
        ({"settings": ["data.num_train=3"]}, "data.num_train=3 has no effect, as real is no data set of ours"),
        ({"settings": ["evaluation.first_encoder=true"]}, "evaluation.first_encoder=true needs the VAE of a chain"),
    ],
)  # fmt: skip
def test_choices_that_do_not_fit_are_refused(images, quick, options, message):
    values, _ = images
    with pytest.raises(UsageError, match=message):
        quick(values[:100], values[100:400], **options)


def test_sets_that_do_not_fit_are_refused(images, quick):
    values, labels = images
    with pytest.raises(UsageError, match="add --resize 8"):
        quick(np.zeros((50, 9, 9), np.uint8), "digits")
    with pytest.raises(UsageError, match="at least 8 samples: got 3"):
        quick(values[:3], "digits")
    with pytest.raises(UsageError, match=r"there is no digit: give"):
        quick(values[:100], "digit")
    with pytest.raises(UsageError, match="labels of synthetic must be below the 10 classes: got 11"):
        quick((values[:100], labels[:100] + 2), "digits")
    with pytest.raises(UsageError, match="digits brings its own training set"):
        quick(values[:100], "digits", train=values)
    with pytest.raises(UsageError, match="--all is for run folders: synthetic is none"):
        quick(values[:100], "digits", has_all_generations=True)
    with pytest.raises(UsageError, match=r"the mnist stick measures .*: --stick must be digits, train"):
        quick(values[:100], "digits", stick="mnist")
    with pytest.raises(UsageError, match="has 10 classes, and real 3: add --unlabelled"):
        quick(values[:100], (values[:400], labels[:400] % 3), stick="digits")


def test_subfolders_of_synthetic_images_are_matched_by_name(images, quick, write, caplog):
    caplog.set_level(logging.INFO)
    values, labels = images
    names = np.array(["zero", "one", "two"])
    chosen = labels < 3
    real = write("real", values[chosen][:300], labels=names[labels[chosen][:300]])
    parts = write("parts", values[chosen][300:], labels=labels[chosen][300:])
    synthetic = write("gen", values[chosen][300:], labels=names[labels[chosen][300:]])
    assert quick(str(synthetic), str(real)).sets[0].yardstick.class_names == ("one", "two", "zero")
    quick(str(parts), str(real))
    assert "its subfolders name no class" in caplog.text
    (synthetic / "two").rename(synthetic / "three")
    with pytest.raises(
        UsageError, match="has a subfolder three, and the classes are one, two, zero: rename it, or add"
    ):
        quick(str(synthetic), str(real))
    assert quick(str(synthetic), str(real), is_labelled=False).sets[0].num_given == len(values[chosen][300:])


def test_several_sets_are_sorted_by_number_and_measured_alike(images, quick, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    values, _ = images
    for step, size in ((9, 150), (10, 120), (100, 200)):
        np.savez(tmp_path / f"step_{step}.npz", values[:size])
    globbed = [str(tmp_path / f"step_{step}.npz") for step in (10, 100, 9)]
    found = quick(globbed, "digits")
    assert [Path(each.name).stem for each in found.sets] == ["step_9", "step_10", "step_100"]
    assert [each.scores.num_synthetic for each in found.sets] == [120, 120, 120]
    assert "step_100.npz: 120 of 200 samples measured" in caplog.text
    as_given = quick([globbed[2], globbed[1], globbed[0]], "digits")
    assert [Path(each.name).stem for each in as_given.sets] == ["step_9", "step_100", "step_10"]
    assert list(quick({"early": values[:99], "late": values[99:199]}, "digits").metrics) == ["early", "late"]


def test_inception_without_torch_fidelity_says_what_to_install(images, quick, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(UsageError, match=r"needs torch-fidelity: pip install collapsar\[inception\]"):
        quick(images[0][:100], images[0][100:300], space="inception")


def test_vectors_are_measured_as_they_are(quick):
    points = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)
    found = quick(points[:200], points[200:])
    assert found.sets[0].spaces == "identity (2 features)"
    assert found.metrics["precision"] > 0.8


def test_a_table_is_scored_against_a_table(quick, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    real, synthetic = tmp_path / "real.csv", tmp_path / "syn.csv"
    people(400).to_csv(real, index=False)
    people(300).sample(frac=1, random_state=0).assign(extra=1)[["ill", "sex", "age", "extra", "income"]].to_csv(
        synthetic, index=False
    )
    settings = ["data.target=ill", "data.identifiers=[id]"]
    found = quick(str(synthetic), str(real), settings=settings)
    assert found.metrics["column_shapes"] > 0.8
    assert found.metrics["rows_outside"] == 0
    assert "downstream_auc" in found.metrics
    assert "columns left out that the real table does not use: extra" in caplog.text
    assert "sex" in found.to_html(tmp_path / "page.html").read_text()
    for frame, message in (
        (people(300).drop(columns="sex"), "lacks the columns sex"),
        (people(300).assign(sex="x"), "column sex of .* has 300 values that the real one lacks, such as x"),
        (people(300).assign(age=np.nan), "column age of .* has 300 missing values"),
        (people(300).assign(age="old"), "column age must hold finite numbers"),
    ):
        frame.to_csv(synthetic, index=False)
        with pytest.raises(UsageError, match=message):
            quick(str(synthetic), str(real), settings=settings)
    with pytest.raises(UsageError, match="is a table: REAL must be one too"):
        quick(str(synthetic), np.zeros((99, 5), np.float32))
    with pytest.raises(UsageError, match="is a table, and the samples of digits are no rows of one"):
        quick(str(synthetic), "digits")
    with pytest.raises(UsageError, match=r"data\.target must be one of id, .*: got nothing"):
        quick(str(synthetic), str(real))


def test_categories_that_are_numbers_may_be_written_otherwise(quick, tmp_path):
    rows = people(400).assign(smokes=np.arange(400) % 2)
    rows.to_csv(tmp_path / "real.csv", index=False)
    rows.to_csv(tmp_path / "same.csv", index=False)
    rows.astype({"smokes": float}).to_csv(tmp_path / "floats.csv", index=False)
    rows.astype({"smokes": float}).to_parquet(tmp_path / "floats.parquet", index=False)
    settings = ["data.target=ill", "data.identifiers=[id]"]
    same, *others = (
        quick(str(tmp_path / name), str(tmp_path / "real.csv"), settings=settings).metrics
        for name in ("same.csv", "floats.csv", "floats.parquet")
    )
    assert others == [same, same]


def test_a_table_of_ours_takes_rows_of_a_file(quick, tmp_path):
    from sklearn.datasets import load_breast_cancer

    patients = load_breast_cancer(as_frame=True)
    frame = patients.data.assign(diagnosis=np.array(patients.target_names)[patients.target])
    frame.to_csv(tmp_path / "rows.csv", index=False)
    assert quick(str(tmp_path / "rows.csv"), "breast_cancer").metrics["column_shapes"] > 0.9


SMALL = torch.nn.Sequential(torch.nn.Conv2d(3, 24, 3, stride=2), torch.nn.SiLU(), torch.nn.Flatten())


@dataclass(frozen=True, kw_only=True)
class SmallSpace(FeatureSpace):
    """The features of a small network with fixed weights."""

    name: ClassVar[str] = "small"
    version: ClassVar[int] = 1

    def fit(self, real, *, device, cache_dir):
        settings = {"content_hash": "small", "version": 1, "device": device, "chunk_size": 64}
        return FittedSpace(name=self.name, feature_dim=216, embedder=SMALL, **settings)


def of_torch_fidelity(synthetic, real, tmp_path, write, **options):
    from torch_fidelity import calculate_metrics

    folders = [str(write(name, images)) for name, images in (("first", synthetic), ("second", real))]
    found = calculate_metrics(
        input1=folders[0], input2=folders[1], fid=True, cuda=False, verbose=False, cache=False, save_cpu_ram=True,
        batch_size=64, **options,
    )  # fmt: skip
    return found["frechet_inception_distance"]


@pytest.mark.filterwarnings("ignore::")
def test_fid_equals_torch_fidelitys_in_the_same_features(images, quick, tmp_path, write):
    from torch_fidelity import register_feature_extractor
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class Small(FeatureExtractorBase):
        def __init__(self, name, features_list, **_options):
            super().__init__(name, features_list)

        def forward(self, images):
            with torch.no_grad():
                return (SMALL(images.float() / 255),)

        @staticmethod
        def get_provided_features_list():
            return ("216",)

        @staticmethod
        def get_default_feature_layer_for_metric(_metric):
            return "216"

        @staticmethod
        def can_be_compiled():
            return False

        @staticmethod
        def get_dummy_input_for_compile():
            return torch.zeros(1, 3, 8, 8, dtype=torch.uint8)

    register_feature_extractor("small-of-tests", Small)
    values = np.repeat(images[0][..., None], 3, axis=3)
    synthetic, real = values[:500], values[500:1000]
    expected = of_torch_fidelity(synthetic, real, tmp_path, write, feature_extractor="small-of-tests")
    found = quick(synthetic, real, space=SmallSpace())
    assert found.metrics["fid"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.skipif(
    "COLLAPSAR_INCEPTION_WEIGHTS" not in os.environ,
    reason="set COLLAPSAR_INCEPTION_WEIGHTS to torch-fidelity's weights-inception-2015-12-05-6726825d.pth",
)
@pytest.mark.filterwarnings("ignore::")
def test_inception_fid_equals_torch_fidelitys(images, quick, tmp_path, write):
    weights = os.environ["COLLAPSAR_INCEPTION_WEIGHTS"]
    values = np.repeat(images[0][..., None], 3, axis=3)
    synthetic, real = values[:200], values[200:400]
    expected = of_torch_fidelity(synthetic, real, tmp_path, write, feature_extractor_weights_path=weights)
    found = quick(synthetic, real, space="inception", settings=[f"evaluation.spaces.inception.weights_path={weights}"])
    assert found.metrics["fid"] == pytest.approx(expected, rel=1e-3)


def test_the_command_prints_a_table_and_writes_files(images, shell, write, tmp_path):
    values, labels = images
    synthetic, real = write("gen", values[:120]), write("real", values[120:420], labels=labels[120:420])
    code, out, err = shell(
        synthetic, real, "--stick", "digits", "--json", tmp_path / "out/score.json", "--csv", tmp_path / "score.csv",
        "--html", tmp_path / "score.html",
    )  # fmt: skip
    assert code == 0, err
    assert "Recall" in out
    assert "120 synthetic samples against 120 of 300" in out.replace("\n", " ")
    (kept,) = json.loads((tmp_path / "out/score.json").read_text())["sets"]
    frame = pd.read_csv(tmp_path / "score.csv")
    recall = frame[frame.metric == "recall"].iloc[0]
    assert recall.value == kept["metrics"]["recall"]
    assert recall.low == kept["metrics"].get("recall_low") or np.isnan(recall.low)
    page = (tmp_path / "score.html").read_text()
    assert page.count("data:image/png") == 2
    assert "<script" not in page
    assert "://" not in page


@pytest.mark.parametrize(("form", "parse"), [("json", json.loads), ("csv", lambda text: pd.read_csv(StringIO(text)))])
def test_stdout_can_be_one_file_and_nothing_else(images, shell, tmp_path, form, parse):
    np.save(tmp_path / "gen.npy", images[0][:100])
    code, out, _ = shell(tmp_path / "gen.npy", "digits", f"--{form}", "-")
    assert code == 0
    assert len(parse(out))


def test_mistakes_are_one_line_and_exit_code_2(shell, tmp_path, images):
    np.save(tmp_path / "gen.npy", images[0][:100] / 100)
    for arguments, message in (
        (["nowhere", "digits"], "there is no nowhere"),
        (["digits"], "give SYNTHETIC and REAL"),
        ([tmp_path / "gen.npy", "digits"], "floats from 0 to 1"),
        ([tmp_path / "gen.npy", "digits", "--evaluation", "all"], "--evaluation must be one of"),
        (["gen.npy", "digits", "--json", "-", "--csv", "-"], "--json and --csv cannot both be -: name a file"),
    ):
        code, out, err = shell(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("collapsar-score: ")
        assert message in err
        assert err.count("\n") == 1


def test_a_sweep_is_drawn_as_curves(images, quick, tmp_path):
    values, _ = images
    found = quick({"one": values[:100], "two": values[100:200], "three": values[200:300]}, "digits")
    page = found.to_html(tmp_path / "page.html").read_text()
    assert page.count("<polyline") == 6, "FID, precision, recall, density, coverage, classes dropped"
    assert "floor" in repr(found)
    assert set(found.to_frame()["set"]) == {"one", "two", "three"}


def test_a_long_wait_is_shown_with_the_time_left(images, quick, monkeypatch, capsys):
    monkeypatch.setattr(measure, "PATIENCE_SECONDS", 0.0)
    quick(images[0][:100], "digits", progress=True)
    shown = capsys.readouterr().err
    assert "metrics measured" in shown
    assert "samples embedded" in shown


def test_help_imports_nothing_heavy(tmp_path):
    from test_imports import call, heavy

    code, modules, printed = call("collapsar.scoring.__main__", "--help", folder=tmp_path)
    assert code == 0
    assert not heavy(modules)
    assert "SYNTHETIC" in printed


def test_score_is_the_packages(images):
    import collapsar.scoring

    assert collapsar.scoring.score is score


def test_a_page_without_a_name_is_one_line(shell, tmp_path, images, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("gen.npy", images[0][:100])
    code, _, err = shell("gen.npy", "digits", "--html", "")
    assert (code, "[Errno " in err, err.count("\n")) == (2, True, 1)
