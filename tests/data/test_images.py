"""Images of one's own: what is read, what is refused, and a split that depends on their content alone."""

import logging
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from collapsar.data.sources.images import Images, read_images
from collapsar.foundations.errors import UsageError

AS_THEY_ARE = {"image_size": None, "channels": None, "skip_broken": False}


def pixels(index, *, shape=(8, 8)):
    """A picture that no other index has."""
    return np.random.default_rng(index).integers(0, 256, shape).astype(np.uint8)


def write(path, array, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)


@pytest.fixture
def folder(tmp_path):
    """Thirty images in each of two classes."""
    for index in range(60):
        write(tmp_path / "set" / ("cats", "dogs")[index % 2] / f"{index}.png", pixels(index))
    return tmp_path / "set"


def load(path, *, test_fraction=0.2, num_train=None, **settings):
    settings = AS_THEY_ARE | settings
    found = read_images(str(path), **settings)
    return Images(
        sample_shape=list(found.images.shape[1:]),
        path=str(path),
        checksum=found.checksum,
        num_classes=len(found.class_names) or None,
        test_fraction=test_fraction,
        num_train=num_train,
        **settings,
    )


def rows(part):
    return {bytes(image.flatten().tolist()) for image in part.values}


def refusal(path, **settings):
    with pytest.raises(UsageError) as caught:
        load(path, **settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_folder_in_a_folder_is_a_class(folder):
    real = load(folder).load()
    assert real.num_classes == 2
    assert real.train.values.shape == (48, 1, 8, 8)
    assert real.test.values.shape == (12, 1, 8, 8)
    assert real.train.values.dtype == torch.uint8
    for part in (real.train, real.test):
        for image, label in zip(part.values, part.labels, strict=True):
            kept = [index for index in range(60) if np.array_equal(pixels(index), image[0].numpy())]
            assert [index % 2 for index in kept] == [label]


def test_images_directly_in_the_folder_have_no_class(tmp_path):
    for index in range(10):
        write(tmp_path / f"{index}.png", pixels(index))
    real = load(tmp_path).load()
    assert (real.num_classes, real.train.labels, real.stick_split) == (0, None, None)


def test_one_folder_makes_no_classes_and_that_is_said(tmp_path, caplog):
    for index in range(10):
        write(tmp_path / "all" / f"{index}.png", pixels(index))
    with caplog.at_level(logging.INFO):
        assert load(tmp_path).num_classes == 0
    assert "10 of one class, all, which counts as none" in caplog.text


def test_names_and_order_change_neither_split_nor_checksum(folder, tmp_path):
    for index in range(60):
        write(tmp_path / "other" / ("cats", "dogs")[index % 2] / f"{997 * index % 61}.bmp", pixels(index))
    first, second = load(folder).load(), load(tmp_path / "other").load()
    assert torch.equal(first.train.values, second.train.values)
    assert torch.equal(first.test.values, second.test.values)
    assert torch.equal(first.test.labels, second.test.labels)
    checksums = [read_images(str(path), **AS_THEY_ARE).checksum for path in (folder, tmp_path / "other")]
    assert checksums[0] == checksums[1]


def test_another_class_or_another_pixel_is_another_checksum(folder):
    before = read_images(str(folder), **AS_THEY_ARE).checksum
    shutil.move(folder / "cats" / "0.png", folder / "dogs" / "0.png")
    moved = read_images(str(folder), **AS_THEY_ARE).checksum
    (folder / "dogs" / "0.png").unlink()
    write(folder / "dogs" / "new.png", pixels(100))
    assert len({before, moved, read_images(str(folder), **AS_THEY_ARE).checksum}) == 3


def test_both_classes_keep_their_share_in_every_set(folder):
    real = load(folder, num_train=24).load()
    assert real.test.labels.bincount().tolist() == [6, 6]
    assert real.train.labels.bincount().tolist() == [12, 12]
    assert real.reserve.labels.bincount().tolist() == [12, 12]


def test_copies_stay_on_one_side_and_are_counted_aloud(folder, caplog):
    for index in range(0, 60, 3):
        for copy in range(2):
            write(folder / "cats" / f"copy_{copy}_{index}.png", pixels(index))
    with caplog.at_level(logging.INFO):
        real = load(folder, num_train=0.5).load()
    assert "40 exact copies of others, such as " in caplog.text
    assert "10 of them in several classes" in caplog.text
    parts = [rows(part) for part in (real.train, real.test, real.reserve)]
    assert sum(map(len, parts)) == 60
    assert len(set.union(*parts)) == 60
    assert len(real.train) + len(real.test) + len(real.reserve) == 100


def test_the_part_that_gives_the_floor_is_seen_by_no_stick(folder):
    split = load(folder).load().stick_split
    assert (len(split.unseen), len(split.seen)) == (12, 36)
    assert not rows(split.unseen) & rows(split.seen)


@pytest.mark.parametrize("name", ["set.npz", "set.npy"])
@pytest.mark.parametrize(
    ("shape", "read_as"), [((8, 8), (1, 8, 8)), ((8, 8, 3), (3, 8, 8)), ((3, 8, 8), (3, 8, 8)), ((8, 8, 1), (1, 8, 8))]
)
def test_an_array_of_any_layout_is_read(tmp_path, name, shape, read_as):
    array = np.stack([pixels(index, shape=shape) for index in range(20)])
    np.savez(tmp_path / name, images=array) if name.endswith("z") else np.save(tmp_path / name, array)
    assert load(tmp_path / name).load().train.shape == read_as


def test_an_array_is_read_as_the_same_images_in_a_folder_are(folder, tmp_path):
    array = np.stack([pixels(index) for index in range(60)])
    names = np.array(["cats", "dogs"] * 30)
    np.savez(tmp_path / "set.npz", samples=array, labels=names)
    first, second = (read_images(str(path), **AS_THEY_ARE) for path in (folder, tmp_path / "set.npz"))
    assert first.checksum == second.checksum
    assert first.class_names == second.class_names == ("cats", "dogs")


def test_numbers_from_0_to_1_become_bytes(tmp_path):
    array = np.stack([pixels(index) for index in range(20)])
    np.save(tmp_path / "set.npy", array / np.float32(255))
    assert rows(load(tmp_path / "set.npy").load().train) <= {image.tobytes() for image in array}


def test_classes_that_are_numbers_stand_in_their_order(tmp_path):
    array = np.stack([pixels(index) for index in range(24)])
    np.savez(tmp_path / "set.npz", images=array, labels=np.arange(24) % 12)
    assert read_images(str(tmp_path / "set.npz"), **AS_THEY_ARE).class_names == tuple(map(str, range(12)))


def test_images_of_other_sizes_are_resized_and_cropped_and_that_is_said(folder, caplog):
    write(folder / "cats" / "wide.png", np.full((16, 40), 200, np.uint8))
    write(folder / "cats" / "small.png", np.full((6, 6), 100, np.uint8))
    assert "such as" not in refusal(folder)
    assert "differ in size" in refusal(folder)
    with caplog.at_level(logging.INFO):
        real = load(folder, image_size=8).load()
    assert real.train.shape == (1, 8, 8)
    assert bytes([200] * 64) in rows(real.train) | rows(real.test)
    for line in ("2 resized to 8 pixels", "1 cropped to a square", "1 smaller before"):
        assert line in caplog.text


def test_grey_and_colour_together_need_a_choice(folder):
    write(folder / "cats" / "colour.png", pixels(0, shape=(8, 8, 3)))
    assert "60 of the 61 images are grey and the others in colour: set data.channels=1 or 3" in refusal(folder)
    assert load(folder, channels=1).sample_shape == [1, 8, 8]
    assert load(folder, channels=3).sample_shape == [3, 8, 8]


def test_transparency_palettes_and_sixteen_bits_are_handled_and_said(folder, caplog):
    shutil.rmtree(folder / "dogs")
    see_through = np.full((8, 8, 4), 255, np.uint8)
    see_through[..., :3], see_through[:4, :, 3] = 40, 0
    write(folder / "odd" / "alpha.png", see_through)
    write(folder / "odd" / "palette.gif", pixels(3, shape=(8, 8, 3)), mode="P")
    write(folder / "odd" / "deep.png", np.full((8, 8), 51 * 256 + 7, np.uint16))
    with caplog.at_level(logging.INFO):
        found = read_images(str(folder), image_size=None, channels=3, skip_broken=False)
        load(folder, channels=3)
    for line in ("1 transparent, laid on white", "1 with a palette", "1 reduced from sixteen bits"):
        assert line in caplog.text
    stored = {image.tobytes() for image in found.images}
    assert np.full((3, 8, 8), 51, np.uint8).tobytes() in stored
    half = np.concatenate([np.full((3, 4, 8), 255, np.uint8), np.full((3, 4, 8), 40, np.uint8)], axis=1)
    assert half.tobytes() in stored


def test_an_image_that_lies_on_its_side_is_turned_upright(tmp_path, caplog):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    for index in range(10):
        write(tmp_path / f"{index}.png", pixels(index, shape=(8, 12)), exif=exif)
    with caplog.at_level(logging.INFO):
        assert load(tmp_path).sample_shape == [1, 12, 8]
    assert "10 turned upright" in caplog.text


def test_broken_files_are_named_or_left_out_on_demand(folder, caplog):
    whole = (folder / "cats" / "0.png").read_bytes()
    (folder / "cats" / "0.png").write_bytes(whole[:40])
    (folder / "dogs" / "1.png").write_text("no image")
    message = refusal(folder)
    assert "2 images of data.path=" in message
    assert "cannot be read: cats/0.png (" in message
    assert "dogs/1.png (" in message
    assert "data.skip_broken=true" in message
    with caplog.at_level(logging.INFO):
        assert sum(vars(load(folder, skip_broken=True).sizes).values()) == 58
    assert "2 left out, being broken: cats/0.png" in caplog.text


def test_files_that_are_no_images_are_left_out_aloud(folder, caplog):
    (folder / "cats" / "notes.txt").write_text("")
    (folder / "cats" / ".DS_Store").write_text("")
    with caplog.at_level(logging.INFO):
        load(folder)
    assert "1 left out, being no images" in caplog.text


def test_a_folder_that_changes_is_read_again(folder):
    assert sum(vars(load(folder).sizes).values()) == 60
    write(folder / "cats" / "new.png", pixels(99))
    assert sum(vars(load(folder).sizes).values()) == 61


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: (path / "train").mkdir() or write(path / "train" / "0.png", pixels(0)), "which name no classes"),
        (lambda path: [write(path / f"{n}.png", pixels(n)) for n in range(1)], "must leave images for training"),
        (lambda path: path.joinpath("readme.txt").write_text(""), "has no images"),
        (lambda path: [write(path / f"{n}.png", pixels(n, shape=(7, 7))) for n in range(9)], "even sides above 4"),
        (lambda path: [write(path / f"{n}.png", pixels(n, shape=(8, 20))) for n in range(9)], "got 20x8"),
        (
            lambda path: [write(path / "ab"[n > 0] / f"{n}.png", pixels(n)) for n in range(9)],
            "class a must have at least two different images, to train and to test on: got 1",
        ),
        (
            lambda path: [write(path / ("a" if n else ".") / f"{n}.png", pixels(n)) for n in range(9)],
            r"has 1 image beside its folders of classes",
        ),
    ],
)
def test_a_folder_that_makes_no_data_is_refused(tmp_path, change, message):
    change(tmp_path)
    assert message in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": np.zeros((4, 64), np.uint8)}, "must be numbers [sample, height, width]"),
        ({"images": np.full((4, 8, 8), 300)}, "whole numbers from 0 to 255, or floats from 0 to 1: got 300 to 300"),
        ({"images": np.full((4, 8, 8), -0.5)}, "got -0.5 to -0.5"),
        ({"images": np.full((4, 8, 8), np.nan)}, "got nan to nan"),
        (
            {"first": np.zeros(1), "second": np.zeros(1)},
            "must hold one array, or samples and labels: got first, second",
        ),
        ({"images": np.zeros((4, 8, 8), np.uint8), "labels": np.zeros(3, int)}, "one for each of 4: got [3]"),
        ({"images": np.zeros((4, 8, 8), np.uint8), "labels": np.full(4, -1)}, "whole numbers from 0, or texts"),
        ({"images": np.array([None])}, "cannot be read as .npz"),
    ],
)
def test_an_array_that_holds_no_images_is_refused(tmp_path, content, message):
    np.savez(tmp_path / "set.npz", **content)
    assert message in refusal(tmp_path / "set.npz")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": 2}, "data.channels must be 1 (grey), 3 (colour)"),
        ({"image_size": 0}, "data.image_size must be a number of pixels"),
        ({"test_fraction": 0.0}, "data.test_fraction must leave images"),
        ({"num_train": 100}, "data.num_train must be 48 (all), between 2"),
    ],
)
def test_a_wrong_setting_is_refused(folder, settings, message):
    assert message in refusal(folder, **settings)


@pytest.mark.parametrize("path", [None, "/no/such/folder", __file__])
def test_a_path_without_images_is_refused(path):
    with pytest.raises(UsageError, match=r"data\.path"):
        read_images(path, **AS_THEY_ARE)
