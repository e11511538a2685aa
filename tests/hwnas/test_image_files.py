"""What pixels image files become, whatever their mode, and what becomes of files that are no images."""

from __future__ import annotations

import io
import os
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_folders import fill_classes, load
from PIL import Image

from hwnas.dataflow import images, load_dataset
from hwnas.dataflow.images import PHOTOMETRIC, read_image
from hwnas.errors import RequestError, RunError

SIZE = 8
RAMP = np.linspace(0, 1, SIZE, dtype=np.float32)[None].repeat(SIZE, axis=0)
"""From black on the left to white on the right."""


def save(path: Path, mode: str) -> Path:
    """The ramp in a mode of Pillow's."""
    grey = np.round(RAMP * 255).astype(np.uint8)
    if mode == "F":
        image = Image.fromarray(RAMP)
    elif mode.startswith("I;16"):
        image = Image.fromarray(np.round(RAMP * 65535).astype(">u2" if mode == "I;16B" else "<u2"))
    elif mode == "I":
        image = Image.fromarray(np.round(RAMP * 65535).astype(np.int32))
    else:
        image = Image.fromarray(grey).convert(mode)
    image.save(path)
    return path


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("L", "a.png"),
        ("L", "a.jpg"),
        ("LA", "a.png"),
        ("RGB", "a.bmp"),
        ("RGBA", "a.webp"),
        ("P", "a.gif"),
        ("CMYK", "a.jpg"),
        ("YCbCr", "a.jpg"),
        ("I;16", "a.png"),
        ("I;16", "a.tif"),
        ("I;16B", "a.tiff"),
        ("I", "a.pgm"),
        ("F", "a.tif"),
    ],
)
def test_white_is_white_in_every_mode(mode: str, name: str, tmp_path: Path) -> None:
    found = read_image(save(tmp_path / name, mode), (SIZE, SIZE))
    assert found.shape == (SIZE, SIZE, 3) and found.dtype == np.uint8
    np.testing.assert_allclose(found, np.round(RAMP * 255)[..., None].repeat(3, axis=2), atol=6)


def test_white_is_zero_where_a_tiff_says_so(tmp_path: Path) -> None:
    save(tmp_path / "a.tif", "I;16")
    Image.open(tmp_path / "a.tif").save(tmp_path / "b.tif", tiffinfo={PHOTOMETRIC: 0})
    with Image.open(tmp_path / "b.tif") as image:
        assert image.tag_v2[PHOTOMETRIC] == 0
    np.testing.assert_array_equal(
        read_image(tmp_path / "b.tif", (SIZE, SIZE)), 255 - read_image(tmp_path / "a.tif", (SIZE, SIZE))
    )


@given(white=st.floats(1.001, 1e9), black=st.floats(-1e9, -0.001))
@settings(max_examples=20, deadline=None)
def test_floats_that_say_no_white_are_refused(white: float, black: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        for values in (RAMP * white, RAMP + black, RAMP + float("nan"), RAMP + float("inf")):
            Image.fromarray(values.astype(np.float32)).save(path)
            with pytest.raises(RequestError, match="its mode means values from 0"):
                read_image(path, (SIZE, SIZE))


def test_integers_that_say_no_white_are_refused_with_their_mode(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"its mode is I \(32-bit integers\)"):
        read_image(save(tmp_path / "a.tif", "I"), (SIZE, SIZE))


@pytest.mark.parametrize("mode", ["RGB", "I;16"])
def test_images_are_turned_upright(mode: str, tmp_path: Path) -> None:
    image = Image.open(save(tmp_path / "a.png", mode))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned clockwise: what was left is above
    image.save(tmp_path / "turned.png", exif=exif)
    expected = np.rot90(read_image(tmp_path / "a.png", (SIZE, SIZE)), -1)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png", (SIZE, SIZE)), expected)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def broken_files(folder: Path) -> dict[str, Path]:
    """Files that cannot be read, each in another way."""
    good = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE)).save(good, "PNG")
    png = good.getvalue()
    text = b"note\0\0" + zlib.compress(bytes(200 * 2**20), 1)
    turned = io.BytesIO()
    Image.new("RGB", (SIZE, SIZE)).save(turned, "PNG", exif=b"garbage!")
    contents = {
        "empty.png": b"",
        "noise.png": b"no image",
        "short.png": png[:45],
        "text.png": png[:33] + png_chunk(b"zTXt", text) + png[33:],
        "exif.png": turned.getvalue(),
        "bomb.png": png[:8] + png_chunk(b"IHDR", struct.pack(">2I5B", 60_000, 60_000, 8, 2, 0, 0, 0)) + png[33:],
        "large.png": png[:8] + png_chunk(b"IHDR", struct.pack(">2I5B", 10_000, 10_000, 8, 2, 0, 0, 0)) + png[33:],
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "pipe.png")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "nowhere.png").symlink_to(folder / "no file")
    (folder / "itself.png").symlink_to(folder / "itself.png")
    return {name: folder / name for name in (*contents, "pipe.png", "device.png", "nowhere.png", "itself.png")}


KINDS = (
    *("empty.png", "noise.png", "short.png", "text.png", "exif.png", "bomb.png", "large.png", "postscript.png"),
    *("pipe.png", "device.png", "nowhere.png", "itself.png"),
)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", KINDS)
def test_an_unreadable_image_is_named_or_skipped(name: str, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    root = fill_classes(tmp_path / "data")
    expected = load(root)
    broken_files(tmp_path / "broken")[name].rename(root / "cats" / name)
    with pytest.raises(RequestError, match=f"cannot read the image .*cats/{name}: .*--skip-broken-images"):
        load(root)
    dataset = load(root, skip_broken_images=True)
    assert dataset.train.images().equal(expected.train.images()) and dataset.test.images().equal(expected.test.images())
    assert f"1 unreadable (the first: {root / 'cats' / name}: " in dataset.remarks[0]


@given(data=st.data(), suffix=st.sampled_from(["png", "jpg", "gif", "tif", "webp", "bmp"]))
@settings(max_examples=150, deadline=None)
def test_damaged_images_are_read_or_refused(data: st.DataObject, suffix: str) -> None:
    content = io.BytesIO()
    Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(
        content, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper())
    )
    damaged = bytearray(content.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(0, 2 * len(damaged))) or None :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a.{suffix}"
        path.write_bytes(damaged)
        try:
            assert read_image(path, (SIZE, SIZE)).shape == (SIZE, SIZE, 3)
        except RequestError as error:
            assert str(error)


def test_a_class_of_broken_images_alone_is_named(tmp_path: Path) -> None:
    fill_classes(tmp_path)
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "0.png").write_bytes(b"no image")
    with pytest.raises(RequestError, match=r"no image of birds in .* can be read"):
        load(tmp_path, skip_broken_images=True)


def test_skipping_is_refused_where_there_are_no_image_files(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"--skip-broken-images is for data in a file per image.*digits"):
        load_dataset("digits", tmp_path, skip_broken_images=True)


@pytest.fixture
def mapped_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose images, one of them broken, are mapped from a file of a cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(images, "MOST_IN_MEMORY", 100)
    root = fill_classes(tmp_path / "data")
    (root / "cats" / "3.png").write_bytes(b"no image")
    return root


def test_mapped_images_remember_which_were_broken(mapped_folder: Path, tmp_path: Path) -> None:
    first, again = (load(mapped_folder, skip_broken_images=True) for _ in range(2))
    assert first.remarks == again.remarks and "1 unreadable" in first.remarks[0]
    assert len(first.train) + len(first.test) == 11 and first.train.images().equal(again.train.images())
    with pytest.raises(RequestError, match="--skip-broken-images"):
        load(mapped_folder)
    (stored,) = (tmp_path / "cache" / "hwnas" / "images").iterdir()
    stored.write_bytes(stored.read_bytes()[:-30])
    assert load(mapped_folder, skip_broken_images=True).train.images().equal(first.train.images())


def test_a_cache_that_cannot_be_written_is_named(
    mapped_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = images.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(images.shutil, "disk_usage", lambda _: usage._replace(free=0))
    with pytest.raises(RunError, match=r"only 0.0 GiB are free; free space there, or name another .*XDG_CACHE_HOME"):
        load(mapped_folder, skip_broken_images=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(mapped_folder / "cats" / "0.png"))
    with pytest.raises(RunError, match=r"Not a directory.*XDG_CACHE_HOME"):
        load(mapped_folder, skip_broken_images=True)


def test_grey_images_are_as_pillow_makes_them(tmp_path: Path) -> None:
    save(tmp_path / "a.png", "RGB")
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(image.convert("L"))
    found = read_image(tmp_path / "a.png", expected.shape, is_grey=True)
    np.testing.assert_array_equal(found, expected[..., None])
    for name in ("one", "other"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(6):
            (tmp_path / "data" / name / f"{i}.png").write_bytes((tmp_path / "a.png").read_bytes())
    grey = load_dataset("folder", tmp_path / "data", input_size=8, is_grey=True)
    assert grey.in_channels == 1 and load_dataset("folder", tmp_path / "data", input_size=8).in_channels == 3
    assert load_dataset("digits", tmp_path, is_grey=True).in_channels == 1
