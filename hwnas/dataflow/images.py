"""Image files as arrays of one size, in RGB or grey, decoded on all cores."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from platformdirs import user_cache_path

from hwnas.dataflow.files import require_regular
from hwnas.dataflow.letterbox import Letterbox
from hwnas.dataflow.targets import BORDER, IGNORED
from hwnas.errors import RequestError, RunError
from safe_files import replacing

MOST_IN_MEMORY = 2**30
"""Bytes of images beyond which they are mapped from a file."""

DECODED_AT_ONCE = 1024

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "PPM", "TIFF", "AVIF", "JPEG2000")
"""Formats that Pillow may take a file for, whatever its name: some of its other formats run programs."""

BITS_PER_SAMPLE, PHOTOMETRIC, ORIENTATION = 258, 262, 274
"""TIFF's tags; a photometric interpretation of 0 says that white is zero, orientations of 5 to 8 that it is turned."""


class Reader(Protocol):
    """A function that gives an image, [height, width, channels]; RequestError with the reason where it cannot."""

    __name__: str

    def __call__(self, path: Path, size: tuple[int, int], /, *, is_grey: bool) -> NDArray[np.uint8]:
        """Return the image at that height and width."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DecodedImages:
    """Images in the order of their files.

    Attributes:
        images_NCHW: uint8; black where a file could not be read.
        is_on_disk: whether they are mapped from a file.
        broken: why files could not be read, by their position.
    """

    images_NCHW: torch.Tensor
    is_on_disk: bool
    broken: Mapping[int, str]


def read_images(
    paths: Sequence[Path], image_shape: tuple[int, int, int], *, skip_broken: bool, read: Reader | None = None
) -> DecodedImages:
    """Return all images, in memory or, beyond a gigabyte, in a file of the user's cache folder.

    Args:
        image_shape: channels, 3 or 1 for grey, height and width.
        read: gives one of them; None for `read_image`.

    Raises:
        RequestError: an image cannot be read, unless those are to be skipped.
        RunError: the cache folder cannot be written to.
    """
    shape = (len(paths), *image_shape)
    is_on_disk = math.prod(shape) > MOST_IN_MEMORY
    if is_on_disk:
        images, broken = _mapped(paths, shape, read or read_image, skip_broken=skip_broken)
    else:
        images = torch.zeros(shape, dtype=torch.uint8)
        broken = _fill(images.numpy(), paths, read or read_image, skip_broken=skip_broken)
    if broken and not skip_broken:
        first = min(broken)
        raise _broken_error(paths[first], broken[first])
    return DecodedImages(images_NCHW=images, is_on_disk=is_on_disk, broken=broken)


def read_image(path: Path, size: tuple[int, int], *, is_grey: bool = False) -> NDArray[np.uint8]:
    """Return the centre of an image, upright, [height, width, 3 or 1]; of several pictures in a file, the first.

    Raises:
        RequestError: the file is none, or cannot be read; the message is the reason.
    """
    with _opened(path) as image:
        return fitted(image, size, is_grey=is_grey)


def read_whole_image(path: Path, size: tuple[int, int], *, is_grey: bool = False) -> NDArray[np.uint8]:
    """Return the whole image as `read_image` does, in its ratio, grey beside it where the size has another one."""
    with _opened(path) as image:
        upright = _upright(image)
        place = Letterbox.of((upright.height, upright.width), size)
        coloured = _coloured(upright, is_grey)
        return _as_array(place.image(coloured, border=BORDER, resampling=Image.Resampling.BILINEAR))


def read_mask(path: Path, size: tuple[int, int], *, is_grey: bool = True) -> NDArray[np.uint8]:
    """Return the class of each pixel, [height, width, 1], where `read_whole_image` has it; 255 beside the image.

    Raises:
        RequestError: the file cannot be read, or has colours rather than numbers.
    """
    assert is_grey, "masks have one channel"
    with _opened(path) as image:
        upright = _upright(image)
        if upright.mode not in ("P", "L", "1"):
            expected = "a class index of 0 to 255 in each pixel, as a palette or in 8 bits of grey"
            raise ValueError(f"expected {expected}, found the mode {upright.mode}: convert it")
        place = Letterbox.of((upright.height, upright.width), size)
        indices = Image.fromarray(np.asarray(upright).astype(np.uint8))  # of a palette, too
        return _as_array(place.image(indices, border=IGNORED, resampling=Image.Resampling.NEAREST))


def size_of_image(path: Path) -> tuple[int, int]:
    """Return the height and width of an image, upright, without decoding it.

    Raises:
        RequestError: the file is none, or cannot be read; the message is the reason.
    """
    with _opened(path) as image:
        is_turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
        return (image.width, image.height) if is_turned else (image.height, image.width)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Give the image of a file; whatever its decoder raises meanwhile becomes a RequestError with the reason."""
    try:
        require_regular(path)
        with opened(path) as image:
            yield image
    except RequestError:
        raise
    except Exception as error:  # decoders raise whatever they stumble over in a damaged file
        raise RequestError(str(error) or type(error).__name__) from error


def _upright(image: Image.Image) -> Image.Image:
    """Return the image, turned in place as its tags say: a copy would not have the file's other tags."""
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _as_array(image: Image.Image) -> NDArray[np.uint8]:
    """Return [height, width, channels]."""
    values = np.asarray(image)
    return values if values.ndim == 3 else values[..., None]


def _coloured(image: Image.Image, is_grey: bool) -> Image.Image:
    return _in_rgb(image).convert("L") if is_grey else _in_rgb(image)


@cache
def _formats() -> tuple[str, ...]:
    """Return those of the formats that this Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _in_rgb(image: Image.Image) -> Image.Image:
    """Return the image in eight bits a channel, scaled by what its mode means.

    Raises:
        ValueError: the mode does not say which value is white.
    """
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):
        tags = getattr(image, "tag_v2", {})
        white = 2 ** tags.get(BITS_PER_SAMPLE, (16,))[0] - 1
        values = np.asarray(image)
        return _from_levels(white - values if tags.get(PHOTOMETRIC) == 0 else values, white)
    if image.mode == "I" and image.format in ("PNG", "PPM"):  # whose grey of more than 8 bits is Pillow's of 16
        return _from_levels(np.asarray(image), 2**16 - 1)
    if image.mode == "F":
        return _from_levels(np.asarray(image), 1)
    if image.mode == "I":
        raise ValueError("its mode is I (32-bit integers), which does not say what is white: save it in 8 or 16 bits")
    return image.convert("RGB")


def _from_levels(values: NDArray[np.generic], white: int) -> Image.Image:
    levels = values.astype(np.float32)
    least, most = float(levels.min()), float(levels.max())
    if not (least >= 0 and most <= white):
        raise ValueError(
            f"its mode means values from 0 (black) to {white} (white), but it has {least:.4g} to {most:.4g}: "
            "scale it, or save it in 8 bits"
        )
    return Image.fromarray(np.round(levels * (255 / white)).astype(np.uint8)).convert("RGB")


def opened(file: Path | IO[bytes]) -> Image.Image:
    """Return the picture that a file holds, before it is decoded.

    Raises:
        RequestError: it is none of a kind that is read here; the message is the reason.
    """
    try:
        return Image.open(file, formats=_formats())
    except UnidentifiedImageError as error:
        raise RequestError("it is damaged, or no image of a kind that is read here") from error


def fitted(image: Image.Image, size: tuple[int, int], *, is_grey: bool = False) -> NDArray[np.uint8]:
    """Return the centre of a picture, upright, [height, width, 3 or 1].

    Raises:
        ValueError: its mode does not say which value is white. Decoders raise errors of any kind for damaged files.
    """
    return _as_array(ImageOps.fit(_coloured(_upright(image), is_grey), size[::-1], Image.Resampling.BILINEAR))


def _broken_error(path: Path, reason: str) -> RequestError:
    return RequestError(
        f"cannot read the image {path}: {reason}; mend or remove it, or leave such images out with --skip-broken-images"
    )


def _fill(images_NCHW: NDArray[np.uint8], paths: Sequence[Path], read: Reader, *, skip_broken: bool) -> dict[int, str]:
    """Decode all images, on all cores: Pillow lets other threads run meanwhile. Returns why some could not be."""
    broken = {}
    _, num_channels, height, width = images_NCHW.shape

    def attempt(path: Path) -> NDArray[np.uint8] | str:
        try:
            return read(path, (height, width), is_grey=num_channels == 1)
        except RequestError as error:
            return str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool, strict_about_bombs():
        for start in range(0, len(paths), DECODED_AT_ONCE):
            chunk = paths[start : start + DECODED_AT_ONCE]
            for position, image in enumerate(pool.map(attempt, chunk), start=start):
                if not isinstance(image, str):
                    images_NCHW[position] = image.transpose(2, 0, 1)
                elif skip_broken:
                    broken[position] = image
                else:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise _broken_error(paths[position], image)
    return broken


@contextmanager
def strict_about_bombs() -> Iterator[None]:
    """Have images of too many pixels refused, and nothing said about metadata."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # of metadata, without a name
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def _mapped(
    paths: Sequence[Path], shape: tuple[int, int, int, int], read: Reader, *, skip_broken: bool
) -> tuple[torch.Tensor, dict[int, str]]:
    """Return the images mapped from a file that is named by what they are, and written first where it is not whole.

    What could not be read stands behind the images as JSON, which ends the file.
    """
    facts = [_identity(path) for path in paths]
    identity = facts if read is read_image else [facts, read.__name__]
    return mapped_images(shape, identity, lambda images: _fill(images, paths, read, skip_broken=skip_broken))


def mapped_images(
    shape: tuple[int, int, int, int], identity: object, fill: Callable[[NDArray[np.uint8]], dict[int, str]]
) -> tuple[torch.Tensor, dict[int, str]]:
    """Return images mapped from a file of the user's cache folder, and why some could not be read.

    Args:
        identity: what changes with the images, as JSON; None where nobody can tell, so that the file is gone with this
            process.
        fill: writes the images into an array of the shape, where no whole file of them is there; gives why some could
            not be read, by position.

    Raises:
        RunError: the cache folder cannot be written to.
    """
    folder, size_bytes = user_cache_path("hwnas") / "images", math.prod(shape)
    try:
        return _unnamed(folder, shape, fill) if identity is None else _named(folder, shape, identity, fill)
    except OSError as error:
        raise RunError(
            f"cannot keep {size_bytes / 2**30:.1f} GiB of images in {folder}: {error.strerror or error}; "
            "free space there, or name another folder with XDG_CACHE_HOME"
        ) from error


def _named(
    folder: Path,
    shape: tuple[int, int, int, int],
    identity: object,
    fill: Callable[[NDArray[np.uint8]], dict[int, str]],
) -> tuple[torch.Tensor, dict[int, str]]:
    digest = hashlib.sha256(json.dumps([shape, identity]).encode()).hexdigest()
    target = folder / f"{digest[:32]}.u8"
    size_bytes = math.prod(shape)
    broken = _noted(target, size_bytes)
    if broken is None:
        broken = _write(target, shape, fill, size_bytes)
    return torch.from_file(str(target), shared=False, size=size_bytes, dtype=torch.uint8).view(shape), broken


def _unnamed(
    folder: Path, shape: tuple[int, int, int, int], fill: Callable[[NDArray[np.uint8]], dict[int, str]]
) -> tuple[torch.Tensor, dict[int, str]]:
    """Return images mapped from a file without a name, which vanishes with the process."""
    size_bytes = math.prod(shape)
    folder.mkdir(parents=True, exist_ok=True)
    _require_room(folder, size_bytes)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.truncate(size_bytes)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size_bytes)
        images = np.memmap(file, np.uint8, "r+", shape=shape)
    broken = fill(images)
    return torch.from_numpy(images), broken


def _require_room(folder: Path, size_bytes: int) -> None:
    # A mapped file that outgrows the disk while it is filled would end the process with a signal.
    if (free := shutil.disk_usage(folder).free) < size_bytes:
        raise OSError(f"only {free / 2**30:.1f} GiB are free")


def _identity(path: Path) -> list[str | int]:
    """Return what changes with an image's file; links to nothing are found broken later."""
    try:
        facts = path.stat()
        return [str(path.resolve()), facts.st_size, facts.st_mtime_ns]
    except OSError:
        return [str(path)]


def _noted(target: Path, size_bytes: int) -> dict[int, str] | None:
    """Return the note at the end of a file of images; None where the file is cut short or not there."""
    try:
        with target.open("rb") as file:
            file.seek(size_bytes)
            return {int(position): str(reason) for position, reason in json.loads(file.read()).items()}
    except (OSError, ValueError, AttributeError):
        return None


def _write(
    target: Path,
    shape: tuple[int, int, int, int],
    fill: Callable[[NDArray[np.uint8]], dict[int, str]],
    size_bytes: int,
) -> dict[int, str]:
    target.parent.mkdir(parents=True, exist_ok=True)
    _require_room(target.parent, size_bytes)
    with replacing(target, needed_bytes=size_bytes) as draft:
        with draft.open("wb") as file:
            if hasattr(os, "posix_fallocate"):  # others may take the room meanwhile
                os.posix_fallocate(file.fileno(), 0, size_bytes)
        images = np.memmap(draft, np.uint8, "r+" if draft.stat().st_size else "w+", shape=shape)
        broken = fill(images)
        images.flush()
        with draft.open("ab") as file:
            file.write(json.dumps(broken).encode())
    return broken
