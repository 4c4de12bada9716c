"""Our data as a LightningDataModule."""

import pytest
import torch
from lightning import Trainer

from collapsar.data.pool import REAL, Part, Pool
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.library.pools import PoolDataModule

IMAGES = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 4


def test_a_data_set_by_name_has_its_shape_before_it_is_read():
    module = PoolDataModule("digits", batch_size=64, num_train=200)
    assert (module.sample_shape, module.num_classes, module.pool) == ((1, 8, 8), 10, None)
    module.setup()
    assert (len(module.pool), len(module.test), len(module.train_dataloader())) == (200, 360, 3)
    assert module.val_dataloader() == []
    assert sum(len(batch) for batch in module.test_dataloader()) == 360


def test_causes_are_planted():
    module = PoolDataModule("digits", cause="missing_classes", **{"cause.missing_classes.classes": [0, 1]})
    module.setup()
    assert module.pool.labels.unique().tolist() == list(range(2, 10))
    assert module.test.labels.unique().tolist() == list(range(10))


@pytest.mark.parametrize(
    "source",
    [IMAGES, (IMAGES, LABELS), Samples(IMAGES, LABELS), Pool((Part(Samples(IMAGES, LABELS), REAL),))],
    ids=["values", "values and labels", "samples", "pool"],
)
def test_tensors_are_fed_in_whole_shuffled_batches(source):
    module = PoolDataModule(source, batch_size=16)
    batches = list(module.train_dataloader())
    assert [len(batch) for batch in batches] == [16, 16]
    assert module.num_classes == (0 if source is IMAGES else 4)
    assert module.sample_shape == (1, 8, 8)


def test_images_in_model_range_are_rounded_to_levels():
    module = PoolDataModule(IMAGES, batch_size=16)
    assert next(iter(module.train_dataloader())).values.dtype == torch.uint8


def test_what_is_kept_for_validation_is_not_trained_on():
    images = torch.arange(40, dtype=torch.uint8).reshape(40, 1, 1, 1).expand(40, 1, 8, 8)
    module = PoolDataModule(images, batch_size=5, validation_fraction=0.25)
    trained = {int(value) for batch in module.train_dataloader() for value in batch.values[:, 0, 0, 0]}
    (kept,) = module.val_dataloader()
    assert len(trained) == 30
    assert trained.isdisjoint(kept.values[:, 0, 0, 0].tolist())


def test_a_run_folder_gives_the_pool_of_each_of_its_generations(run_chain, tmp_path):
    records = run_chain(tmp_path / "run", "num_generations=2", "regime=accumulate", "model.width=4", "cause=[blur]")
    for generation, record in enumerate(records):
        module = PoolDataModule(str(tmp_path / "run"), generation=generation, batch_size=50)
        module.setup()
        assert module.pool.describe() == record.pool
        assert len(module.test) == 360
    with pytest.raises(UsageError, match="samples of generation 2 are missing"):
        PoolDataModule(tmp_path / "run", generation=3).setup()


@pytest.mark.parametrize(
    ("source", "settings", "text"),
    [
        ("digitz", {}, "did you mean digits?"),
        ("digits", {"num_trian": 3}, "data.num_trian is not an option: did you mean num_train?"),
        ("digits", {"cause": "long_tale"}, "did you mean long_tail?"),
        ("digits", {"batch_size": 0}, "batch_size must be above 0: got 0"),
        ("digits", {"validation_fraction": 1.0}, "validation_fraction must lie between 0 and 1: got 1.0"),
        ("digits", {"generation": 1}, "generation=1 needs a run folder"),
        ("no/folder", {}, r"no/folder is no run folder: it holds no config\.yaml"),
        (IMAGES, {"cause": "blur"}, "cause is a setting of a data set by name"),
        (IMAGES[:, 0], {}, r"samples must be images .* got \[40, 8, 8\]"),
        (2 * IMAGES, {}, "uint8, or floats from 0 to 1"),
    ],
)
def test_a_mistake_is_refused_in_one_line(source, settings, text):
    with pytest.raises(UsageError, match=text):
        PoolDataModule(source, **settings)


def test_several_devices_are_refused(monkeypatch):
    module = PoolDataModule(IMAGES, batch_size=16)
    module.trainer = Trainer(accelerator="cpu", devices=2, logger=False, enable_checkpointing=False)
    with pytest.raises(UsageError, match="feeds one device: got 2"):
        module.setup()
