import numpy as np
import pytest

from tests.recorded import DATA, load_reference
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.language.sequence import Expanded, expand, first_row, splice

TASKS = [
    (path.parent.name, path.stem)
    for path in sorted([*DATA.glob("golden-*/img_*.npz"), *DATA.glob("golden-*/aaai_img_*.npz")])
]
IMAGE_TOKENS = 32  # of the recorded models: 16 of the vision encoder, 16 of the mask encoder


@pytest.mark.parametrize(("folder", "task"), TASKS)
@pytest.mark.parametrize("mode", ["tensor", "predict"])
def test_expanded_ids_equal_the_recorded_ones(folder, task, mode):
    arrays = load_reference(folder, task)
    ids = arrays[f"{mode}/input_ids"][0]
    none = np.full(len(ids), -1)
    conds, segs = (arrays.get(f"{mode}/{name}", none[None])[0] for name in ("cond_ids", "seg_ids"))
    expanded = expand(ids, conds, segs, IMAGE_TOKENS, 1 if task.startswith("aaai") else 64)
    assert len(expanded) == len(expanded.cond_ids) == len(expanded.seg_ids)
    for name in ("input_ids", "cond_ids", "seg_ids"):
        if f"{mode}/expanded.{name}" in arrays:
            np.testing.assert_array_equal(getattr(expanded, name), arrays[f"{mode}/expanded.{name}"][0])


def test_rows_of_placeholders():
    ids = np.array([5, -200, 6, -300, 7, -300])
    expanded = expand(ids, np.array([-1, 0, 0, 0, 4, 4]), np.array([-1, 8, 9, 9, -1, -1]), 2, 3)
    assert expanded.input_ids.tolist() == [5, -200, -200, 6, -300, -300, -300, 7, -300, -300, -300]
    assert expanded.cond_ids.tolist() == [-1, -1, -1, 0, 0, 0, 0, 4, 1, 1, 1]
    assert expanded.seg_ids.tolist() == [-1, -1, -1, 9, -1, -1, -1, -1, -1, -1, -1]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_splice_reads_a_mapped_table(tmp_path, dtype):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "table.npy", rng.standard_normal((9, 4)).astype(dtype))
    table = np.load(tmp_path / "table.npy", mmap_mode="r")
    image, regions = rng.standard_normal((2, 4)).astype(dtype), rng.standard_normal((2, 3, 4)).astype(dtype)
    ids = np.array([-300, 8, -200, 0, -300, 3])
    nowhere = np.full(6, -1)
    embeds = splice(expand(ids, nowhere, nowhere, 2, 3), table, image, regions)
    expected = np.concatenate([regions[0], table[[8]], image, table[[0]], regions[1], table[[3]]])
    assert embeds.dtype == np.float32
    assert embeds.shape == (1, 11, 4)
    np.testing.assert_array_equal(embeds[0], expected.astype(np.float32))


def test_nothing_at_all():
    """No row, and no region where regions are given: of the width that all have."""
    table, none = np.eye(3, dtype=np.float16), np.empty(0, np.int64)
    empty = expand(none, none, none, 5, 5)
    assert len(empty) == 0 and first_row(empty, 0) == 0
    for regions in (None, np.empty((0, 5, 3), np.float32)):
        embeds = splice(empty, table, np.empty((0, 3), np.float16), regions)
        assert (embeds.shape, embeds.dtype) == ((1, 0, 3), np.float32)
    ids = np.array([2, 0])
    assert empty.followed_by(ids).input_ids.tolist() == [2, 0]
    assert expand(ids, ids, ids, 5, 5).followed_by(none).input_ids.tolist() == [2, 0]


def test_text_only():
    table = np.eye(3, dtype=np.float32)
    ids = np.array([2, 0])
    embeds = splice(expand(ids, ids, ids, 5, 5), table, np.empty((0, 3), np.float32))
    np.testing.assert_array_equal(embeds[0], table[[2, 0]])


@pytest.mark.parametrize(
    ("image", "regions", "ids", "message"),
    [
        ((3, 4), (1, 3, 4), [1, -200, -300], "image embeddings"),
        ((2, 5), (1, 3, 4), [1, -200, -300], "image embeddings"),
        ((2, 4), None, [1, -200, -300], "region embeddings"),
        ((2, 4), (2, 3, 4), [1, -200, -300], "region embeddings"),
        ((2, 4), (1, 3, 4), [9, -200, -300], "9 rows"),
        ((2, 4), (1, 3, 4), [-7, -200, -300], "9 rows"),
    ],
)
def test_mismatches(image, regions, ids, message):
    nowhere = np.full(3, -1)
    expanded = expand(np.array(ids), nowhere, nowhere, 2, 3)
    embeds = None if regions is None else np.zeros(regions, np.float32)
    with pytest.raises(InputError, match=message):
        splice(expanded, np.zeros((9, 4), np.float32), np.zeros(image, np.float32), embeds)


def test_unequal_lengths():
    with pytest.raises(InputError, match="one length"):
        expand(np.zeros(3), np.zeros(2), np.zeros(3), 1, 1)
    assert len(Expanded(np.zeros(3, int), np.zeros(3, int), np.zeros(3, int))) == 3


@pytest.mark.parametrize(
    ("cond_ids", "seg_ids", "first"),
    [
        ([-1] * 6, [-1] * 6, 3),
        ([-1, 0, -1, -1, 1, -1], [-1] * 6, 1),
        ([-1, -1, -1, -1, 0, 0], [-1, -1, 0, -1, -1, 0], 2),
    ],
)
def test_rows_that_can_matter(cond_ids: list[int], seg_ids: list[int], first: int) -> None:
    sequence = Expanded(np.arange(6), np.array(cond_ids), np.array(seg_ids))
    assert first_row(sequence, 3) == first
