import pytest
import torch

from xsam_edge.export.models.deformable_attention import (
    DeformableAttention,
    GatherSampling,
    GridSampling,
    reference_points,
)

SIZES = [(2, 3), (4, 5), (8, 8)]


def sample_gather(value, sizes, at, weights, dialect="cpu"):
    return GatherSampling(dialect)(value, at, torch.zeros(at.shape[1], len(sizes), 2), weights, sizes)


def sample_grid(value, sizes, at, weights):
    return GridSampling()(value, at, torch.zeros(at.shape[1], len(sizes), 2), weights, sizes)


def _inputs(sizes, spread, batch=2, heads=3, queries=40, points=4):
    generator = torch.Generator().manual_seed(0)
    tokens = sum(height * width for height, width in sizes)
    value = torch.randn(batch, tokens, heads, 5, generator=generator)
    shape = (batch, queries, heads, len(sizes), points)
    at = spread * torch.randn(*shape, 2, generator=generator)
    weights = torch.rand(shape, generator=generator)
    return value, sizes, at, weights


@pytest.mark.parametrize("spread", [2.0, 8.0, 1e4])
def test_forms_agree(spread):
    """Inside, across the borders and far outside."""
    args = _inputs(SIZES, spread)
    expected = sample_grid(*args)
    assert expected.any() or spread == 1e4
    torch.testing.assert_close(sample_gather(*args), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sizes", [[(1, 1)], [(1, 4), (3, 1)], [(2, 2), (1, 1)]])
def test_forms_agree_on_maps_of_one_cell(sizes):
    args = _inputs(sizes, 1.0)
    torch.testing.assert_close(sample_gather(*args), sample_grid(*args), atol=1e-5, rtol=0)


@pytest.mark.parametrize("sample", [sample_grid, sample_gather])
def test_whole_pixels_read_cells_and_borders_fade(sample):
    value = torch.arange(6.0).reshape(1, 6, 1, 1)
    at = torch.tensor([[0, 0], [2, 1], [1, 0], [0.5, 0], [-0.25, 0], [2, 1.75], [-1, 0], [3, 1], [50, -50]])
    out = sample(value, [(2, 3)], at.reshape(1, -1, 1, 1, 1, 2), torch.ones(1, len(at), 1, 1, 1))
    expected = torch.tensor([0, 5, 1, 0.5, 0, 1.25, 0, 0, 0])
    torch.testing.assert_close(out.reshape(-1), expected, atol=1e-6, rtol=0)


def test_gradients_agree():
    gradients = []
    for sample in (sample_grid, sample_gather):
        value, sizes, at, weights = _inputs(SIZES, 3.0)
        leaves = [value.requires_grad_(), at.requires_grad_(), weights.requires_grad_()]
        sample(value, sizes, at, weights).square().sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("spread", [1, 20])
def test_sums_equal_products(spread):
    inputs = _inputs(SIZES, spread)
    torch.testing.assert_close(sample_gather(*inputs, dialect="gpu"), sample_gather(*inputs), atol=1e-5, rtol=0)


def test_reference_points_are_cell_centres():
    points = reference_points([(1, 2), (2, 4)], torch.zeros(()))
    assert points.shape == (10, 2, 2)
    # On its own level a cell stands on itself.
    assert torch.equal(points[:2, 0], torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    assert torch.equal(points[2:, 1], torch.tensor([[x, y] for y in (0.0, 1.0) for x in (0.0, 1.0, 2.0, 3.0)]))
    # A coarse cell stands between the four fine ones that it covers.
    assert torch.equal(points[0, 1], torch.tensor([0.5, 0.5]))


def test_modules_of_both_forms_agree():
    torch.manual_seed(0)
    gather = DeformableAttention(16, 4, len(SIZES), 2, "gather")
    grid = DeformableAttention(16, 4, len(SIZES), 2, "grid_sample")
    grid.load_state_dict(gather.state_dict())
    x = torch.randn(2, sum(height * width for height, width in SIZES), 16)
    reference = reference_points(SIZES, x)
    expected = grid(x, x, reference, SIZES)
    torch.testing.assert_close(gather(x, x, reference, SIZES), expected, atol=1e-5, rtol=0)
