import struct
import threading
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image import load
from xsam_edge.runtime.image.load import load_image, stored_image, upright


def noise(height=20, width=30, channels=3):
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("extension", ["png", "tif", "bmp", "ppm", "gif", "jpg"])
def test_files_decode_as_pillow_does(tmp_path, extension):
    path = tmp_path / f"image.{extension}"
    Image.fromarray(noise()).save(path)
    with Image.open(path) as expected:
        np.testing.assert_array_equal(load_image(path), expected.convert("RGB"))
    assert load_image(str(path)).mode == "RGB"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("extension", ["png", "jpg", "tif"])
def test_exif_orientation_is_applied_once(tmp_path, orientation, extension):
    path = tmp_path / f"image.{extension}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise()).save(path, exif=exif)
    loaded = load_image(path)
    with Image.open(path) as image:
        np.testing.assert_array_equal(loaded, ImageOps.exif_transpose(image).convert("RGB"))
    assert loaded.size == ((30, 20) if orientation < 5 else (20, 30))


def test_stored_pixels_are_not_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise()).save(tmp_path / "image.png", exif=exif)
    image, name = stored_image(tmp_path / "image.png")
    np.testing.assert_array_equal(image, noise())
    np.testing.assert_array_equal(upright(image), np.rot90(noise(), -1))
    assert name == str(tmp_path / "image.png")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_modes_convert_as_pillow_does(mode):
    image = Image.fromarray(noise()).convert(mode)
    np.testing.assert_array_equal(load_image(image), image.convert("RGB"))


def test_transparent_palette_warns_of_nothing(tmp_path):
    path = tmp_path / "palette.png"
    image = Image.fromarray(noise()).quantize(16)
    image.save(path, transparency=bytes(range(16)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(load_image(path), image.convert("RGB"))


def test_alpha_is_dropped_not_composited():
    rgba = noise(channels=4)
    np.testing.assert_array_equal(load_image(rgba), rgba[..., :3])
    np.testing.assert_array_equal(load_image(Image.fromarray(rgba)), rgba[..., :3])


@pytest.mark.parametrize("extension", ["png", "tif", "pgm"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, extension):
    path = tmp_path / f"depth.{extension}"
    grey = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    if extension == "pgm":
        path.write_bytes(b"P5 30 20 65535\n" + grey.astype(">u2").tobytes())
    else:
        Image.fromarray(grey).save(path)
    np.testing.assert_array_equal(np.asarray(load_image(path))[..., 0], grey >> 8)


@pytest.mark.parametrize("largest", [1, 255, 65535])
def test_integers_of_a_program_have_the_range_that_they_fill(largest):
    grey = np.linspace(0, largest, 600).astype(np.int32).reshape(20, 30)
    expected = grey if largest < 256 else grey >> 8
    np.testing.assert_array_equal(np.asarray(load_image(Image.fromarray(grey)))[..., 0], expected)
    np.testing.assert_array_equal(np.asarray(load_image(Image.fromarray(grey - largest)))[..., 0], np.zeros((20, 30)))


def test_blue_first():
    array = noise(channels=4)
    np.testing.assert_array_equal(load_image(array[..., :3], bgr=True), array[..., 2::-1])
    np.testing.assert_array_equal(load_image(array, bgr=True), array[..., 2::-1])
    np.testing.assert_array_equal(load_image(array[..., 0], bgr=True), load_image(array[..., 0]))
    for source in ("image.png", Image.fromarray(array)):
        with pytest.raises(InputError, match="bgr is of arrays of pixels"):
            load_image(source, bgr=True)


def test_arrays():
    array = noise()
    np.testing.assert_array_equal(load_image(array), array)
    np.testing.assert_array_equal(load_image(array[::2, ::-1]), array[::2, ::-1])
    for grey in (array[..., 0], array[..., :1]):
        np.testing.assert_array_equal(load_image(grey), np.repeat(array[..., :1], 3, axis=2))
    assert load_image(np.zeros((1, 1, 3), np.uint8)).size == (1, 1)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros((0, 5, 3), np.uint8), "at least 1 x 1"),
        (np.zeros((5, 5, 3), np.float32), "float32"),
        (np.zeros((3, 8, 8), np.uint8), "channels last"),
        (np.zeros(5, np.int8), "not int8"),
        (Image.new("RGB", (0, 5)), "at least 1 x 1"),
        (Image.new("F", (5, 5)), "floating-point"),
        (None, "NoneType"),
        ("nowhere.png", "does not exist"),
        ("a\0b", "expected the path of one image file"),
    ],
)
def test_unusable_sources(source, message):
    with pytest.raises(InputError, match=message):
        load_image(source)


def test_unusable_files(tmp_path):
    Image.fromarray(noise(200, 300)).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    contents = {
        "is empty": b"",
        "not an image": b"some text",
        "truncated or damaged": whole[: len(whole) // 2],
        "damaged PNG": whole[:20],
        # Ghostscript would run the next one.
        "Pillow can read": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
    }
    path = tmp_path / "file.png"
    for message, content in contents.items():
        path.write_bytes(content)
        with pytest.raises(InputError, match=message):
            load_image(path)
    with pytest.raises(InputError, match="folder"):
        load_image(tmp_path)


def test_size_limit_is_ours_and_pillows_is_untouched(tmp_path, monkeypatch):
    path = tmp_path / "image.png"
    Image.fromarray(noise()).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert load_image(path).size == (30, 20)
    assert Image.MAX_IMAGE_PIXELS == 10
    monkeypatch.setattr(load, "MAX_PIXELS", 599)
    for source in (path, noise(), Image.fromarray(noise())):
        with pytest.raises(InputError, match="599"):
            load_image(source)


def test_a_caller_may_have_a_lower_limit(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(noise()).save(path)
    for source in (path, path.read_bytes(), Image.fromarray(noise())):
        assert load_image(source, max_pixels=600).size == (30, 20)
        with pytest.raises(InputError, match="30 x 20 pixels, more than the limit of 599"):
            load_image(source, max_pixels=599)
    with pytest.raises(InputError, match="20 x 30, more than the limit of 599 pixels"):
        load_image(noise(), max_pixels=599)


def test_oversized_header_is_refused_before_decoding(tmp_path):
    path = tmp_path / "bomb.bmp"
    Image.fromarray(noise()).save(path)
    content = bytearray(path.read_bytes())
    content[18:26] = struct.pack("<ii", 60000, 60000)
    path.write_bytes(content)
    with pytest.raises(InputError, match="60000 x 60000"):
        load_image(path)


@pytest.mark.parametrize("length", range(1, 17))
def test_a_file_shorter_than_a_header(tmp_path, length):
    path = tmp_path / "short.png"
    path.write_bytes(b"x" * length)
    with pytest.raises(InputError, match="is not an image"):
        load_image(path)


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_several_threads_may_look_at_one_opened_file(tmp_path, extension, quick_switches):
    """Pillow decodes it when it is first asked for pixels, and fails or mixes them up where two threads ask at once."""
    path = tmp_path / f"image.{extension}"
    Image.fromarray(noise(600, 800)).save(path)
    expected = np.asarray(load_image(path))
    for _ in range(3):
        right: list[bool] = []
        start = threading.Barrier(5)

        def work(opened, right=right, start=start):
            start.wait()
            right.append(np.array_equal(np.asarray(load_image(opened)), expected))

        with Image.open(path) as opened:
            threads = [threading.Thread(target=work, args=(opened,)) for _ in range(5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert right == [True] * 5
