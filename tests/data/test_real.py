"""Real data: fixed splits, stratified subsets, and errors that say where files belong."""

import os
import pickle
import struct
from dataclasses import replace
from threading import Thread

import numpy as np
import pytest
import torch
from filelock import FileLock
from scipy.io import savemat

from collapsar.data.sources.more_sets import CIFAR100, EMNIST, KMNIST, SVHN
from collapsar.data.sources.real import (
    CIFAR10,
    MNIST,
    Digits,
    FashionMNIST,
    Sizes,
    data_root,
    md5,
)
from collapsar.foundations.errors import UsageError

has_data = pytest.mark.skipif(not os.environ.get("COLLAPSAR_DATA"), reason="COLLAPSAR_DATA names no folder of data")


def load_digits(num_train=None):
    return Digits(sample_shape=[1, 8, 8], num_train=num_train).load()


def make_mnist(root, *, source=MNIST, num_train=None):
    return source(sample_shape=[1, 28, 28], num_train=num_train, root=str(root))


def make_cifar(root, *, num_train=None):
    return CIFAR10(sample_shape=[3, 32, 32], num_train=num_train, root=str(root))


def rows(part):
    return {tuple(image) for image in part.values.flatten(1).tolist()}


IDX_FILES = {
    "train-images-idx3-ubyte": 16 + 60_000 * 784,
    "train-labels-idx1-ubyte": 8 + 60_000,
    "t10k-images-idx3-ubyte": 16 + 10_000 * 784,
    "t10k-labels-idx1-ubyte": 8 + 10_000,
}


def write_mnist(root, *, folder="MNIST/raw"):
    """Files as MNIST has them, all black but for a first pixel, sparse on disk."""
    raw = root / folder
    raw.mkdir(parents=True)
    for name, num_bytes in IDX_FILES.items():
        count = 60_000 if name.startswith("train") else 10_000
        is_images = "images" in name
        header = struct.pack(">4i", 0x803, count, 28, 28) if is_images else struct.pack(">2i", 0x801, count)
        with (raw / name).open("wb") as file:
            file.write(header + bytes([7]))
            file.truncate(num_bytes)
    return raw


def take_for_official(monkeypatch, folder, *, source=MNIST):
    """Expect the files that lie there."""
    monkeypatch.setattr(source, "checksums", {name: md5(folder / name) for name in source.checksums})


@pytest.fixture
def offline(monkeypatch):
    """Downloads go to a port where nobody listens."""
    for source in (MNIST, FashionMNIST):
        monkeypatch.setattr(source.dataset, "mirrors", ["http://127.0.0.1:9/"])
    monkeypatch.setattr(CIFAR10.dataset, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    monkeypatch.setenv("no_proxy", "*")


def test_digits_have_1437_training_and_360_test_images():
    real = load_digits()
    assert real.train.values.shape == (1437, 1, 8, 8)
    assert real.test.values.shape == (360, 1, 8, 8)
    assert real.train.values.dtype == real.test.values.dtype == torch.uint8
    assert real.num_classes == 10
    assert real.reserve is None


def test_digits_use_the_whole_range_of_grey():
    samples = load_digits().train.values
    assert (samples.min(), samples.max()) == (0, 255)


def test_digits_train_and_test_share_no_image():
    real = load_digits()
    assert not rows(real.train) & rows(real.test)


def test_every_class_has_its_share_in_the_test_set():
    counts = load_digits().test.labels.bincount(minlength=10)
    assert counts.min() >= 34
    assert counts.max() <= 38


def test_the_split_is_the_same_every_time():
    first, second = load_digits(), load_digits()
    assert torch.equal(first.train.values, second.train.values)
    assert torch.equal(first.test.labels, second.test.labels)


def test_a_subset_keeps_the_proportions_of_the_classes():
    counts = load_digits(200).train.labels.bincount(minlength=10)
    assert counts.sum() == 200
    assert counts.min() >= 19
    assert counts.max() <= 21


def test_a_subset_is_the_same_every_time():
    assert torch.equal(load_digits(200).train.values, load_digits(200).train.values)


def test_a_subset_leaves_the_test_set_alone():
    assert torch.equal(load_digits(200).test.values, load_digits().test.values)


def test_subset_and_reserve_are_the_training_set():
    real, everything = load_digits(200), load_digits().train
    assert len(real.train) + len(real.reserve) == len(everything)
    assert not rows(real.train) & rows(real.reserve)
    assert rows(real.train) | rows(real.reserve) == rows(everything)


@pytest.mark.parametrize("num_train", [10, 1427, 1437])
def test_the_ends_of_the_allowed_range_are_allowed(num_train):
    assert len(load_digits(num_train).train) == num_train


def test_a_num_train_below_one_is_a_share():
    assert Digits(sample_shape=[1, 8, 8], num_train=0.25).sizes == Sizes(train=359, test=360, reserve=1078)
    assert len(load_digits(0.25).train) == 359


@pytest.mark.parametrize("num_train", [-1, 0, 1, 1.5, 9, 0.001, 1428, 5000])
def test_a_subset_that_does_not_fit_is_refused(num_train):
    with pytest.raises(UsageError, match=rf"data.num_train must be .*got {num_train}"):
        load_digits(num_train)


def test_the_root_is_the_given_folder_then_the_environments_then_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("COLLAPSAR_DATA", str(tmp_path / "environment"))
    assert data_root(str(tmp_path / "given")) == tmp_path / "given"
    assert data_root(None) == tmp_path / "environment"
    monkeypatch.setenv("COLLAPSAR_DATA", "")
    assert data_root(None).parts[-2:] == ("collapsar", "data")


@pytest.mark.parametrize(("source", "folder"), [(MNIST, "MNIST/raw"), (FashionMNIST, "FashionMNIST/raw")])
def test_files_in_torchvisions_layout_become_images(tmp_path, monkeypatch, source, folder):
    take_for_official(monkeypatch, write_mnist(tmp_path, folder=folder), source=source)
    real = make_mnist(tmp_path, source=source).read_all()
    assert real.train.values.shape == (60_000, 1, 28, 28)
    assert real.test.values.shape == (10_000, 1, 28, 28)
    assert real.train.values.dtype == torch.uint8
    assert real.train.values[0, 0, 0, 0] == real.train.labels[0] == 7


def test_missing_files_offline_name_the_folder_and_the_files(tmp_path, offline):
    with pytest.raises(UsageError) as caught:
        make_mnist(tmp_path).load()
    message = str(caught.value)
    assert str(tmp_path / "MNIST/raw") in message
    assert all(name in message for name in IDX_FILES)
    assert "COLLAPSAR_DATA" in message
    assert "\n" not in message


def test_missing_cifar_offline_names_the_folder_and_the_files(tmp_path, offline):
    with pytest.raises(UsageError) as caught:
        make_cifar(tmp_path).load()
    assert str(tmp_path / "cifar-10-batches-py") in str(caught.value)
    assert all(name in str(caught.value) for name in CIFAR10.checksums)


def test_a_root_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="mnist is not in"):
        make_mnist(tmp_path / "file").load()


def write_cifar(root):
    """Files as CIFAR-10 has them, by name."""
    folder = root / CIFAR10.folder
    folder.mkdir(parents=True)
    for name in CIFAR10.checksums:
        (folder / name).write_bytes(f"pickled {name}".encode())
    return folder


def cut(folder, name):
    os.truncate(folder / name, 5000)


def put_others_in_place(folder, name):
    """The test set's file for the training set's, or the other way round; of CIFAR-10, another batch."""
    other = name.replace("train", "t10k") if "train" in name else name.replace("t10k", "train")
    other = {"test_batch": "data_batch_1"}.get(name, "test_batch") if other == name else other
    (folder / name).write_bytes((folder / other).read_bytes())


def change_a_byte(folder, name):
    """The file keeps its size: one label, one pixel or one number in a header is another."""
    content = bytearray((folder / name).read_bytes())
    content[7] ^= 1
    (folder / name).write_bytes(content)


@pytest.mark.parametrize("damage", [cut, put_others_in_place, change_a_byte])
@pytest.mark.parametrize(
    ("source", "name"), [*((MNIST, name) for name in IDX_FILES), (FashionMNIST, "t10k-labels-idx1-ubyte")]
)
def test_an_idx_file_that_is_not_the_official_one_is_named(tmp_path, monkeypatch, source, name, damage):
    folder = write_mnist(tmp_path, folder=source.folder)
    take_for_official(monkeypatch, folder, source=source)
    damage(folder, name)
    with pytest.raises(UsageError, match=rf"{name} is damaged, or not the official file of {source.name}: its MD5"):
        make_mnist(tmp_path, source=source).load()


@pytest.mark.parametrize("damage", [cut, put_others_in_place, change_a_byte])
@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_5", "test_batch", "batches.meta"])
def test_a_cifar_file_that_is_not_the_official_one_is_named(tmp_path, monkeypatch, name, damage):
    folder = write_cifar(tmp_path)
    take_for_official(monkeypatch, folder, source=CIFAR10)
    damage(folder, name)
    with pytest.raises(UsageError, match=f"{name} is damaged, or not the official file of cifar10: its MD5"):
        make_cifar(tmp_path).load()


def test_files_of_another_set_are_refused(tmp_path):
    write_mnist(tmp_path, folder=FashionMNIST.folder)
    with pytest.raises(UsageError, match="train-images-idx3-ubyte is damaged, or not the official file of fashion"):
        make_mnist(tmp_path, source=FashionMNIST).load()


def test_a_pickle_that_is_not_the_official_one_is_not_opened(tmp_path):
    class Planted:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "planted"),))

    (write_cifar(tmp_path) / "data_batch_1").write_bytes(pickle.dumps(Planted()))
    with pytest.raises(UsageError, match="damaged"):
        make_cifar(tmp_path).load()
    assert not (tmp_path / "planted").exists()


def test_a_download_that_came_broken_is_refused(tmp_path, monkeypatch):
    def fetch(*, root, train, download):
        write_mnist(root)

    monkeypatch.setattr(MNIST, "dataset", staticmethod(fetch))
    with pytest.raises(UsageError, match="train-images-idx3-ubyte is damaged"):
        make_mnist(tmp_path).load()


def test_jobs_that_start_together_download_once(tmp_path, monkeypatch):
    downloads = []
    original = MNIST.dataset

    def fetch(*, root, train, download):
        if download:
            downloads.append(root)
            write_mnist(root)
            return None
        return original(root=root, train=train, download=False)

    take_for_official(monkeypatch, write_mnist(tmp_path / "official"))
    monkeypatch.setattr(MNIST, "dataset", staticmethod(fetch))
    jobs = [Thread(target=make_mnist(tmp_path)._require_files) for _ in range(3)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert len(downloads) == 1


def test_a_job_waits_for_the_download_that_another_has_half_done(tmp_path, monkeypatch):
    monkeypatch.setattr(MNIST, "dataset", staticmethod(lambda **_: pytest.fail("downloaded again")))
    take_for_official(monkeypatch, write_mnist(tmp_path))
    half = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    content = half.read_bytes()
    half.write_bytes(content[:5])
    with FileLock(tmp_path / ".mnist.lock"):
        job = Thread(target=make_mnist(tmp_path)._require_files)
        job.start()
        job.join(timeout=0.2)
        assert job.is_alive()
        half.write_bytes(content)
    job.join()


@has_data
def test_real_mnist_has_its_official_split():
    real = MNIST(sample_shape=[1, 28, 28], num_train=None, root=None).load()
    assert real.train.values.shape == (60_000, 1, 28, 28)
    assert real.test.values.shape == (10_000, 1, 28, 28)
    assert real.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert real.test.labels.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@has_data
def test_real_cifar_has_its_official_split():
    real = CIFAR10(sample_shape=[3, 32, 32], num_train=500, root=None).load()
    assert real.train.values.shape == (500, 3, 32, 32)
    assert real.reserve.values.shape == (49_500, 3, 32, 32)
    assert real.train.labels.bincount().tolist() == [50] * 10
    assert real.test.labels.bincount().tolist() == [1000] * 10
    assert real.test.values.is_contiguous()


@pytest.mark.parametrize("num_train", [None, 200])
def test_a_part_of_the_official_training_set_is_kept_from_sticks_whatever_a_chain_takes(num_train):
    split, everything = load_digits(num_train).stick_split, load_digits().train
    assert torch.equal(split.official.values, everything.values)
    assert (len(split.seen), len(split.unseen)) == (1077, 360)
    assert torch.equal(split.unseen.values, load_digits().stick_split.unseen.values)


def test_chains_train_on_what_sticks_never_see_too():
    real = load_digits()
    assert rows(real.stick_split.unseen) <= rows(real.train)
    assert not rows(real.stick_split.unseen) & rows(real.stick_split.seen)


def test_spaces_are_fitted_on_what_sticks_see():
    real = load_digits(200)
    assert torch.equal(real.for_sticks().train.values, real.stick_split.seen.values)
    assert torch.equal(real.for_sticks().test.values, real.test.values)


def test_where_nothing_is_kept_from_sticks_spaces_are_fitted_on_the_training_set():
    whole = replace(load_digits(200), stick_split=None)
    assert whole.for_sticks() is whole


# The other sets of torchvision, in its own files of a few images each.


def grey(num_samples):
    return np.random.default_rng(num_samples).integers(0, 256, (num_samples, 28, 28)).astype(np.uint8)


def write_idx(folder, name, array):
    folder.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">{1 + array.ndim}i", 0x800 + array.ndim, *array.shape)
    (folder / name).write_bytes(header + array.tobytes())


def write_kmnist(root, sizes):
    for part, size in zip(("train", "t10k"), sizes, strict=True):
        write_idx(root / "KMNIST/raw", f"{part}-images-idx3-ubyte", grey(size))
        write_idx(root / "KMNIST/raw", f"{part}-labels-idx1-ubyte", (np.arange(size) % 10).astype(np.uint8))


def write_letters(root, sizes):
    """As the set has them: transposed, and the first letter is of class 1."""
    for part, size in zip(("train", "test"), sizes, strict=True):
        write_idx(root / "EMNIST/raw", f"emnist-letters-{part}-images-idx3-ubyte", grey(size).transpose(0, 2, 1))
        labels = (1 + np.arange(size) % 26).astype(np.uint8)
        write_idx(root / "EMNIST/raw", f"emnist-letters-{part}-labels-idx1-ubyte", labels)


def write_svhn(root, sizes):
    """As the set has them: samples last, and the digit 0 is of class 10."""
    for part, size in zip(("train", "test"), sizes, strict=True):
        images = np.random.default_rng(size).integers(0, 256, (32, 32, 3, size)).astype(np.uint8)
        savemat(root / f"{part}_32x32.mat", {"X": images, "y": (1 + np.arange(size) % 10)[:, None].astype(np.uint8)})


def write_cifar100(root, sizes):
    folder = root / "cifar-100-python"
    folder.mkdir()
    for part, size in zip(("train", "test"), sizes, strict=True):
        pixels = np.random.default_rng(size).integers(0, 256, (size, 3 * 32 * 32)).astype(np.uint8)
        content = {"data": pixels, "fine_labels": [index % 100 for index in range(size)]}
        (folder / part).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [str(index) for index in range(100)]}))


OTHERS = {  # shape of a sample, classes, who writes the files, and the setting that only some have
    KMNIST: ([1, 28, 28], 10, write_kmnist, {}),
    EMNIST: ([1, 28, 28], 26, write_letters, {"split": "letters"}),
    SVHN: ([3, 32, 32], 10, write_svhn, {}),
    CIFAR100: ([3, 32, 32], 100, write_cifar100, {}),
}
SMALL = (800, 200)


def make_other(source, root, monkeypatch):
    """The source with files of few images, which count as the official ones."""
    shape, _, write, settings = OTHERS[source]
    write(root, SMALL)
    for name, value in zip(("num_available", "num_test", "num_unseen"), (*SMALL, 200), strict=True):
        monkeypatch.setattr(source, name, value, raising=False)
    monkeypatch.setattr("collapsar.data.sources.more_sets.EMNIST_SIZES", {"letters": (*SMALL, 26)})
    if source in (SVHN, CIFAR100):
        take_for_official(monkeypatch, root / source.folder, source=source)
    monkeypatch.setattr(SVHN.dataset, "_check_integrity", lambda split: True)
    monkeypatch.setattr(CIFAR100.dataset, "_check_integrity", lambda split: True)
    monkeypatch.setitem(CIFAR100.dataset.meta, "md5", None)
    return source(sample_shape=shape, num_train=None, root=str(root), **settings)


@pytest.mark.parametrize("source", OTHERS)
def test_the_other_sets_are_read_in_torchvisions_layout(tmp_path, monkeypatch, source):
    shape, num_classes, _, _ = OTHERS[source]
    made = make_other(source, tmp_path, monkeypatch)
    real = made.load()
    assert (list(real.train.shape), real.num_classes, made.num_classes) == (shape, num_classes, num_classes)
    assert (len(real.train), len(real.test), len(real.stick_split.unseen)) == (*SMALL, 200)
    assert sorted(set(real.train.labels.tolist())) == list(range(num_classes))
    assert real.train.values.dtype == torch.uint8
    assert real.train.values.is_contiguous()


def test_letters_stand_upright_and_begin_at_class_0(tmp_path, monkeypatch):
    real = make_other(EMNIST, tmp_path, monkeypatch).load()
    assert torch.equal(real.train.values[:, 0], torch.from_numpy(grey(SMALL[0])))
    assert real.train.labels[:3].tolist() == [0, 1, 2]


def test_a_house_number_0_is_of_class_0(tmp_path, monkeypatch):
    assert make_other(SVHN, tmp_path, monkeypatch).load().train.labels[8:11].tolist() == [9, 0, 1]


@pytest.mark.parametrize("source", [KMNIST, EMNIST])
def test_files_of_another_number_of_images_are_refused(tmp_path, monkeypatch, source):
    made = make_other(source, tmp_path, monkeypatch)
    OTHERS[source][2](tmp_path, (300, 200))
    with pytest.raises(
        UsageError, match=rf"the files of {source.name} in .*\(they hold 300 and 200 images, not 800 and 200\): delete "
    ):
        made.load()


@pytest.mark.parametrize("source", [KMNIST, EMNIST])
def test_a_file_that_is_cut_is_refused_in_one_line(tmp_path, monkeypatch, source):
    made = make_other(source, tmp_path, monkeypatch)
    name = next(iter(made.checksums))
    os.truncate(tmp_path / made.folder / name, 5000)
    with pytest.raises(UsageError, match=f"the files of {source.name} in .* cannot be read") as caught:
        made.load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", OTHERS)
def test_other_sets_that_are_missing_name_the_folder_and_the_files(tmp_path, monkeypatch, source):
    shape, _, _, settings = OTHERS[source]
    made = source(sample_shape=shape, num_train=None, root=str(tmp_path), **settings)

    def offline():
        raise RuntimeError("Error downloading")

    monkeypatch.setattr(made, "download", offline)
    with pytest.raises(UsageError, match=f"{source.name} is not in .*COLLAPSAR_DATA") as caught:
        made.load()
    assert all(name in str(caught.value) for name in made.checksums)
