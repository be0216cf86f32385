import numpy as np
import pytest
from PIL import Image

from tests.recorded import load_reference
from xsam_edge.runtime.bundle.settings import RegionSampling
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.image.regions import box_mask, point_mask, region_mask, sample_points, sample_regions

SIZE = (100, 150)


@pytest.mark.parametrize(
    ("folder", "task", "features", "sampling"),
    [
        ("golden-phi3", "img_vgdseg", "image_features", RegionSampling(256, 4, "mean")),
        ("golden-phi3", "img_intseg", "image_features", RegionSampling(256, 4, "mean")),
        ("golden-phi3", "aaai_img_vgdseg", "aaai_image_features", RegionSampling(256, 256, "max")),
        ("golden-phi3", "aaai_img_intseg", "aaai_image_features", RegionSampling(256, 256, "max")),
        ("golden-qwen3", "img_vgdseg", "image_features", RegionSampling(256, 4, "mean")),
    ],
)
def test_tokens_equal_the_recorded_ones(folder, task, features, sampling):
    arrays = load_reference(folder, task)
    points = np.stack([arrays[key] for key in sorted(arrays) if key.startswith("tensor/sampler.points_yx")])
    tokens = load_reference(folder, features)["seg_projector"][0]
    grid = round(len(tokens) ** 0.5)
    sampled = sample_regions(tokens.reshape(grid, grid, -1), points, sampling)
    expected = arrays["tensor/vision_sampler.0"].reshape(sampled.shape)
    np.testing.assert_allclose(sampled, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pixels", [1, 3, 255, 256, 257, 10000])
def test_points_are_set_pixels_and_evenly_used(pixels):
    mask = np.zeros((128, 96), np.uint8)
    chosen = np.random.default_rng(0).choice(mask.size, pixels, replace=False)
    mask.flat[chosen] = 1
    points = sample_points(mask, 256)
    assert points.dtype == np.float32
    rows, columns = np.rint(points * [128, 96]).astype(int).T
    assert mask[rows, columns].all()
    _, counts = np.unique(rows * 96 + columns, return_counts=True)
    assert len(counts) == min(pixels, 256)
    assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(points, sample_points(mask, 256))


def test_consecutive_points_are_far_apart():
    groups = sample_points(np.ones((64, 64), np.uint8), 256).reshape(64, 4, 2)
    spread = np.ptp(groups[..., 0], axis=1)
    assert spread.min() > 0.5  # neighbours in raster order would share a row or two: below 0.05


@pytest.mark.parametrize("count", [1, 2, 6, 256])
def test_every_count_covers_the_whole_region(count):
    points = sample_points(np.ones((1, count), np.uint8), count)
    np.testing.assert_array_equal(np.sort(points[:, 1]), (np.arange(count) / count).astype(np.float32))


def test_bilinear_samples_and_pooling():
    grid = np.stack(np.meshgrid(np.arange(3.0), np.arange(5.0), indexing="ij"), axis=-1).astype(np.float32)
    points = np.random.default_rng(0).random((2, 8, 2)).astype(np.float32)
    points[0, 0], points[0, 1] = (0, 0), (1, 1)
    position = points * np.float32([2, 4])  # a linear map is reproduced
    mean = sample_regions(grid, points, RegionSampling(8, 2, "mean"))
    np.testing.assert_allclose(mean, position.reshape(2, 4, 2, 2).mean(2), atol=1e-6)
    highest = sample_regions(grid, points, RegionSampling(8, 8, "max"))
    np.testing.assert_allclose(highest, position.max(1, keepdims=True), atol=1e-6)
    with pytest.raises(InputError, match="expected"):
        sample_regions(grid, points, RegionSampling(16, 4, "mean"))


def test_boxes():
    mask = box_mask((10, 20, 12.5, 21), SIZE)
    assert mask.shape == SIZE
    assert mask[20, 10:13].all()
    assert mask.sum() == 3
    assert box_mask((-0.4, -0.4, 150.6, 100.2), SIZE).all()
    assert box_mask(np.array([0, 0, 1, 1]), SIZE).sum() == 1


@pytest.mark.parametrize(
    "box",
    [
        (10, 10, 10, 20),
        (10, 20, 12, 10),
        (200, 10, 220, 20),
        (10, 10, 200, 20),
        (-30, 10, 20, 20),
        (150, 0, 150.5, 10),
        (0, 0, float("nan"), 10),
        (0, 0, float("inf"), 10),
        (0, 0, 10),
        "abcd",
        None,
    ],
)
def test_unusable_boxes(box):
    with pytest.raises(InputError, match="box"):
        box_mask(box, SIZE)


def test_points_become_discs_of_a_radius_relative_to_the_image():
    mask = point_mask((40, 30), (640, 640))
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 40, 30, 50)
    assert not mask[20, 30]
    assert abs(mask.sum() / (np.pi * 100) - 1) < 0.05
    corner = point_mask((639.9, 0), (640, 640))
    assert corner[0, 639]
    assert corner.sum() < mask.sum() / 2
    assert point_mask((0, 0), (1, 1)).all()
    assert point_mask((3, 3), (8, 8)).sum() == 1


@pytest.mark.parametrize("point", [(150, 0), (0, 100), (-1, 5), (float("nan"), 5), (1,), (1, 2, 3), None])
def test_unusable_points(point):
    with pytest.raises(InputError, match="point"):
        point_mask(point, SIZE)


def test_masks_of_every_kind(tmp_path, phi3_reference):
    expected = np.zeros(SIZE, bool)
    expected[10:20, 30:50] = True
    grey = np.where(expected, 200, 100).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "mask.png")
    for source in (
        expected,
        expected.astype(np.uint8),
        expected * 255,
        grey,
        Image.fromarray(grey),
        tmp_path / "mask.png",
    ):
        mask = region_mask(source, SIZE)
        assert mask.dtype == bool
        np.testing.assert_array_equal(mask, expected)
    recorded = np.asarray(Image.open(phi3_reference / "vpmask0.png").convert("L")) > 128
    np.testing.assert_array_equal(region_mask(str(phi3_reference / "vpmask0.png"), SIZE), recorded)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.ones((150, 100), bool), "own size"),
        (np.zeros(SIZE, bool), "no pixel"),
        (np.full(SIZE, 100, np.uint8), "no pixel"),
        (np.ones(SIZE, np.float32), "float32"),
        (np.ones((*SIZE, 3), np.uint8), "H, W"),
        ("nowhere.png", "does not exist"),
        (3, "int"),
    ],
)
def test_unusable_masks(source, message):
    with pytest.raises(InputError, match=message):
        region_mask(source, SIZE)


def test_a_region_without_pixels_cannot_be_sampled():
    with pytest.raises(InputError, match="no pixel"):
        sample_points(np.zeros((8, 8), np.uint8), 4)


def test_no_region_has_no_tokens():
    grid = np.ones((3, 5, 2), np.float32)
    assert sample_regions(grid, np.empty((0, 8, 2), np.float32), RegionSampling(8, 2, "mean")).shape == (0, 4, 2)
