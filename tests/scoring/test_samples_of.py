"""Every form in which people hold samples gives the same samples; what cannot be read is refused by name."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from collapsar.data.sources.images import read_images
from collapsar.data.sources.pictures import natural
from collapsar.foundations.errors import UsageError
from collapsar.foundations.samples import Samples
from collapsar.scoring.samples_of import alike, read_samples

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5, 4), dtype=np.uint8)
GREY[0, 0, :2] = 0, 255
COLOUR = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def read(given, **options):
    return read_samples(given, name=str(given) if isinstance(given, (str, bytes)) else "gen", **options)


def as_stored(images):
    """The sample convention of images [N, H, W] or [N, H, W, C]."""
    return torch.from_numpy(images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2).copy())


@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize(
    "form",
    [
        lambda images: images,
        torch.from_numpy,
        as_stored,
        lambda images: as_stored(images).double() / 255,
        lambda images: images.astype(np.float32) / 255,
        lambda images: images.astype(np.int64),
        lambda images: Samples(as_stored(images)),
    ],
    ids=["array", "tensor", "channels first", "float64", "float32", "int64", "Samples"],
)
def test_arrays_of_any_layout_and_type_are_the_same_images(images, form):
    assert torch.equal(read(form(images)).samples.values, as_stored(images))


@pytest.mark.parametrize("images", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize("kind", ["npz", "npz by name", "npz of two", "npy", "pt", "pt pair", "pt by name", "png"])
def test_files_hold_the_same_images(tmp_path, images, kind, write):
    path = tmp_path / f"gen.{kind.split()[0]}"
    tensor, labels = torch.from_numpy(images), torch.from_numpy(LABELS)
    match kind:
        case "npz":
            np.savez(path, anything=images)
        case "npz by name":
            np.savez(path, samples=images, labels=LABELS, strip=images[:2])
        case "npz of two":
            np.savez(path, images, LABELS)
        case "npy":
            np.save(path, images)
        case "pt":
            torch.save(tensor, path)
        case "pt pair":
            torch.save((tensor, labels), path)
        case "pt by name":
            torch.save({"samples": tensor, "labels": labels}, path)
        case "png":
            path = write("gen", images)
    found = read(path)
    assert torch.equal(found.samples.values, as_stored(images))
    has_labels = kind in ("npz by name", "npz of two", "pt pair", "pt by name")
    assert found.samples.labels is None or torch.equal(found.samples.labels, labels)
    assert (found.samples.labels is not None) == has_labels


def test_subfolders_are_classes_in_natural_order(write):
    found = read(write("gen", GREY, labels=[10, 9, 9, 10, 2, 2]))
    assert found.class_names == ("2", "9", "10")
    assert found.samples.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.num_classes == 3


def test_one_subfolder_is_no_class(write):
    assert read(write("gen", GREY, labels=[0] * 6)).samples.labels is None


def test_formats_of_pillow_palettes_alpha_and_grey_files_are_read(tmp_path):
    opaque = Image.fromarray(COLOUR[0])
    clear = opaque.convert("RGBA")
    clear.putalpha(Image.new("L", clear.size, 0))
    opaque.save(tmp_path / "0.bmp")
    opaque.convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "1.gif")
    clear.save(tmp_path / "2.png")
    Image.fromarray(GREY[0]).save(tmp_path / "3.tif")
    found = read(tmp_path).samples.values
    assert torch.equal(found[0], as_stored(COLOUR)[0])
    assert bool((found[2] == 255).all()), "what is transparent is white"
    assert torch.equal(found[3], as_stored(GREY)[0].expand(3, -1, -1))


def test_what_is_no_image_is_left_alone_and_said(write, caplog):
    caplog.set_level(logging.INFO)
    folder = write("gen", GREY)
    (folder / "notes.txt").write_text("mine")
    (folder / ".hidden.png").write_text("no image")
    assert len(read(folder).samples) == 6
    assert "1 other file left alone" in caplog.text


def test_floats_are_said_to_be_converted(caplog):
    caplog.set_level(logging.INFO)
    read(GREY / 255)
    assert "gen: floats from 0 to 1, read as [0, 1]" in caplog.text


def broken(folder):
    (folder / "4.png").write_bytes((folder / "4.png").read_bytes()[:30])
    return folder


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (GREY / 127.5 - 1, r"floats from 0 to 1: got -1 to 1; scale them as \(x \+ 1\) / 2"),
        (GREY * 1.0, r"floats from 0 to 1: got 0 to 255; divide them by 255"),
        (np.full((6, 5, 4), np.nan), r"floats from 0 to 1: got nan to nan"),
        (np.full((6, 5, 4), 300), r"whole numbers from 0 to 255, or floats from 0 to 1: got 300 to 300"),
        (np.full((6, 5), np.inf), "NaN or infinite"),
        (np.zeros((6, 2, 5, 5)), r"got float64 \[6, 2, 5, 5\]"),
        (np.zeros(6), r"got float64 \[6\]"),
        (np.zeros((0, 5, 4)), "holds no samples"),
        (object(), "must be numbers in an array or a tensor, not sparse: got object"),
        (np.zeros((6, 5), "M8[s]"), r"not sparse: got datetime64\[s\]"),
        (torch.zeros(6, 5, 4).to_sparse(), "not sparse: got torch.float32"),
        ((GREY, np.full(len(GREY), 2**63, np.uint64)), "labels of gen must be 0 or above"),
        ((GREY, LABELS[:5]), "labels of gen must be 6 whole numbers"),
        ((GREY, LABELS / 2), "labels of gen must be 6 whole numbers"),
        ((GREY, LABELS - 5), "labels of gen must be 0 or above"),
        ("nowhere", "there is no nowhere: give a folder of images, or a file .npz"),
        ("nowhere.npz", "there is no nowhere.npz"),
    ],
)
def test_unusable_input_is_refused(given, message):
    with pytest.raises(UsageError, match=message):
        read(given)


def test_broken_files_are_named(write, tmp_path):
    folder = broken(write("gen", GREY))
    with pytest.raises(
        UsageError, match=r"1 image of .*gen cannot be read: 4\.png \(.*\); mend or remove what is broken$"
    ):
        read(folder)
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(UsageError, match=r"cut\.npz cannot be read as \.npz"):
        read(str(tmp_path / "cut.npz"))
    (tmp_path / "cut.pt").write_bytes(b"no tensors")
    with pytest.raises(UsageError, match=r"cut\.pt cannot be read as \.pt"):
        read(str(tmp_path / "cut.pt"))
    np.savez(tmp_path / "two.npz", a=GREY, b=GREY)
    with pytest.raises(UsageError, match=r"two.npz must hold one array, or samples and labels: got a, b"):
        read(str(tmp_path / "two.npz"))
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UsageError, match=r"got \.txt"):
        read(str(tmp_path / "x.txt"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty holds no images"):
        read(str(tmp_path / "empty"))


def test_sizes_that_differ_are_refused_by_name_or_resized(write):
    folder = write("gen", GREY)
    Image.fromarray(np.zeros((7, 9), np.uint8)).save(folder / "6.png")
    with pytest.raises(UsageError, match=r"6.png of 9x7 and 0.png of 4x5 pixels: set --resize N \(resize=N\)"):
        read(folder)
    assert read(folder, side=8).samples.shape == (1, 8, 8)
    assert read(GREY, side=4).samples.shape == (1, 4, 4)
    assert torch.equal(read(GREY[:, :4], side=4).samples.values, as_stored(GREY[:, :4])), "of that size already"


def test_channels_are_matched_if_no_pixel_changes():
    grey, colour = read(GREY), read(COLOUR)
    equal = read(np.repeat(GREY[..., None], 3, axis=3))
    assert torch.equal(alike(equal, shape=(1, 5, 4), to_name="real").samples.values, grey.samples.values)
    assert torch.equal(alike(grey, shape=(3, 5, 4), to_name="real").samples.values, equal.samples.values)
    with pytest.raises(UsageError, match="gen holds colour images and real grey ones"):
        alike(colour, shape=(1, 5, 4), to_name="real")
    with pytest.raises(UsageError, match="gen holds images of 4x5 pixels and real of 8x8: add --resize 8"):
        alike(grey, shape=(1, 8, 8), to_name="real")
    with pytest.raises(UsageError, match="gen holds images and real vectors"):
        alike(grey, shape=(2,), to_name="real")


def test_names_sort_by_their_numbers():
    assert sorted(["step_10", "step_9", "step_100"], key=natural) == ["step_9", "step_10", "step_100"]


def test_a_chain_and_a_score_read_the_same_pixels_from_the_same_files(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    see_through = Image.fromarray(COLOUR[1]).convert("RGBA")
    see_through.putalpha(Image.fromarray(GREY[1]))
    odd = {
        "alpha.png": see_through,
        "clear_grey.png": see_through.convert("LA"),
        "palette.gif": Image.fromarray(COLOUR[2]).convert("P"),
        "deep.png": Image.fromarray(GREY[3].astype(np.uint16) * 256 + 9),
        "wide.png": Image.fromarray(np.tile(GREY[4], (1, 3))),
        "plain.png": Image.fromarray(GREY[5]),
    }
    for name, image in odd.items():
        image.save(tmp_path / name)
    Image.fromarray(COLOUR[3]).save(tmp_path / "key.png", transparency=tuple(COLOUR[3, 0, 0].tolist()))
    of_chain = read_images(str(tmp_path), image_size=6, channels=3, skip_broken=False)
    of_score = read(tmp_path, side=6).samples.values
    assert sorted(map(bytes, of_chain.images)) == sorted(bytes(image.numpy()) for image in of_score)
    for note in ("reduced from sixteen bits", "laid on white", "with a palette", "cropped to a square"):
        assert any(note in line for line in of_chain.notes)
        assert note in caplog.text


def test_a_colour_that_a_file_calls_transparent_is_laid_on_white(tmp_path):
    Image.fromarray(COLOUR[3]).save(tmp_path / "key.png", transparency=tuple(COLOUR[3, 0, 0].tolist()))
    (found,) = read(tmp_path).samples.values
    assert found[:, 0, 0].tolist() == [255, 255, 255]
    assert torch.equal(found[:, 0, 1:], as_stored(COLOUR)[3, :, 0, 1:])


def test_a_link_to_a_folder_that_it_lies_in_is_read_once_and_other_links_are_followed(write, tmp_path):
    folder = write("gen", GREY)
    (folder / "sub").mkdir()
    (folder / "sub" / "up").symlink_to(tmp_path / "gen")
    (folder / "loop").symlink_to(folder)
    assert len(read(folder).samples) == len(GREY)
    (folder / "other").symlink_to(write("elsewhere", GREY))
    assert len(read(folder).samples) == 2 * len(GREY)
    assert len(read(folder / "loop").samples) == 2 * len(GREY)


def test_pixels_beyond_sixteen_bits_are_refused(tmp_path):
    for place, level in enumerate((-1, 2**16)):
        (tmp_path / str(place)).mkdir()
        Image.fromarray(np.full((5, 4), level, np.int32)).save(tmp_path / str(place) / "1.tif")
        with pytest.raises(UsageError, match="its pixels do not lie between 0 and 65535"):
            read(tmp_path / str(place))


def test_a_file_with_code_is_refused_without_the_advice_to_run_it(tmp_path):
    torch.save({"model": torch.nn.Linear(1, 1)}, tmp_path / "gen.pt")
    np.savez(tmp_path / "gen.npz", samples=np.array([None, "a"], dtype=object))
    (tmp_path / "text.npz").write_text("text")
    for name in ("gen.pt", "gen.npz", "text.npz"):
        with pytest.raises(UsageError, match=r"it is damaged, or holds objects other than arrays$"):
            read(tmp_path / name)


def test_a_size_that_does_not_fit_into_memory_is_refused_before_images_are_resized(write):
    with pytest.raises(UsageError, match=r"would take .* GB, and this machine has .*: set --resize N"):
        read_samples(write("gen", GREY), name="gen", side=10**6)
