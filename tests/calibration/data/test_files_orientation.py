"""Images with an EXIF orientation, annotated as they are stored or as they are seen, in every format."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.annotated import SIZE, write, write_captions, write_instances, write_panoptic, write_reasons, write_refs
from xsam_edge.calibration.data.files import open_picture
from xsam_edge.calibration.data.folder import open_folder
from xsam_edge.calibration.data.plain_images import open_images
from xsam_edge.calibration.data.samples import Phrase
from xsam_edge.runtime.errors import InputError

FORMATS: dict[str, Callable[[Path], Path]] = {
    "instances": write_instances,
    "panoptic": write_panoptic,
    "refer": write_refs,
    "captions": write_captions,
    "reason": write_reasons,
}


def save(path: Path, size: tuple[int, int], orientation: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise of (height, width) that says how to turn it; returns the stored pixels and the upright ones."""
    noise = np.random.default_rng(orientation).integers(0, 256, (*size, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise).save(path, "PNG", exif=exif)  # whatever its name says
    return noise, np.asarray(ImageOps.exif_transpose(Image.open(path)))


def first_image(root: Path, task: str) -> np.ndarray:
    return np.asarray(next(iter(open_folder(root).pictures([task]))).image())  # type: ignore[list-item]


@pytest.mark.parametrize("task", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_where_that_fits_its_annotations(task: str, orientation: int, tmp_path: Path) -> None:
    FORMATS[task](tmp_path)
    (path, *_) = sorted(tmp_path.rglob("*.jpg"))
    _, upright = save(path, SIZE if orientation < 5 else SIZE[::-1], orientation)
    assert upright.shape[:2] == SIZE
    if task == "reason" or orientation >= 5:
        assert np.array_equal(first_image(tmp_path, task), upright)


@pytest.mark.parametrize("task", FORMATS)
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_an_image_stays_as_it_is_stored_where_that_fits_its_annotations(
    task: str, orientation: int, tmp_path: Path
) -> None:
    FORMATS[task](tmp_path)
    (path, *_) = sorted(tmp_path.rglob("*.jpg"))
    if task == "reason":
        record = json.loads(path.with_suffix(".json").read_text())
        write(path.with_suffix(".json"), {**record, "imageHeight": SIZE[0], "imageWidth": SIZE[1]})
    stored, _ = save(path, SIZE, orientation)
    assert np.array_equal(first_image(tmp_path, task), stored)


@pytest.mark.parametrize("size", [(8, 8), (6, 9)])
def test_where_both_fit_the_tools_of_the_data_set_decide(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    stored, upright = save(path, size, 3)  # half a turn
    assert np.array_equal(np.asarray(open_picture(path, size)), stored), "COCO's read pixels as they are stored"
    assert np.array_equal(np.asarray(open_picture(path, size, annotated_upright=True)), upright), "LabelMe turns"
    assert np.array_equal(np.asarray(open_picture(path, None)), upright), "a user's own are seen upright"


def test_masks_of_questions_have_the_size_of_their_image(tmp_path: Path) -> None:
    folder = write_reasons(tmp_path)
    save(folder / "a.jpg", SIZE, 6)
    picture = next(iter(open_folder(tmp_path).pictures(["reason"])))
    phrase = picture.asks[0]
    assert isinstance(phrase, Phrase) and phrase.mask
    assert phrase.mask().shape == SIZE[::-1] == (picture.image().height, picture.image().width)


def test_images_of_no_annotations_are_upright(tmp_path: Path) -> None:
    _, upright = save(tmp_path / "a.jpg", SIZE, 6)
    assert np.array_equal(np.asarray(open_images(tmp_path).picture(0).image()), upright)


def test_what_fits_in_no_way_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", (5, 6), 6)
    with pytest.raises(InputError, match=r"a.jpg is 6 x 5 pixels, its annotations are for 16 x 12"):
        open_picture(tmp_path / "a.jpg", SIZE)
