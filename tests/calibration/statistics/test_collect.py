from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from PIL import Image

from xsam_edge.calibration.calibration_data import CalibrationData
from xsam_edge.calibration.data.samples import Categories, Phrase, Picture, Regions
from xsam_edge.calibration.statistics import collect as module
from xsam_edge.calibration.statistics.collect import Statistics, cache_key, collect, default_cache
from xsam_edge.calibration.statistics.probes import Probe, make_probe
from xsam_edge.calibration.statistics.ranges import METHODS, activation_range
from xsam_edge.calibration.statistics.stats import TensorStats
from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.progress import Step

SIZE = (40, 56)
ASKS = (
    Phrase("refer", "the cat", None),
    Categories("panoptic", ("cat", "sky"), 1, ()),
    Regions((lambda: np.eye(*SIZE, dtype=bool),), (), False),
)


def picture(number: int, *, constant: int | None = None, broken: bool = False, asks: Sequence = ASKS) -> Picture:
    def image() -> Image.Image:
        if broken:
            raise OSError("damaged")
        rng = np.random.default_rng(number)
        pixels = rng.integers(0, 256, (*SIZE, 3)) if constant is None else np.full((*SIZE, 3), constant)
        return Image.fromarray(pixels.astype(np.uint8))

    return Picture(f"picture {number}", image, (asks[number % len(asks)],))


def data(pictures: Sequence[Picture]) -> CalibrationData:
    return CalibrationData("scripted", pictures, (), (), lambda: {"count": len(pictures)})


def products(model: ir.Model, *, per_channel: bool = True) -> list[tuple[Probe, bool]]:
    """Inputs of every product with a weight."""
    found = {}
    for node in model.graph:
        if node.op_type in ("MatMul", "Conv") and node.inputs[1] is not None and node.inputs[1].is_initializer():
            axis = 1 if node.op_type == "Conv" else -1
            found[node.inputs[0].name] = make_probe(node.inputs[0], axis), per_channel and node.op_type == "MatMul"
    return list(found.values())


def few(model: ir.Model) -> list[tuple[Probe, bool]]:
    return products(model)[1:40:12]


def gather(bundle: Path, cache: Path, pictures: Sequence[Picture], choose: Callable = few, **options) -> Statistics:
    return collect(bundle, data(pictures), choose, cache, answer="append", threads=1, **options)


def assert_equal(one: Statistics, other: Statistics) -> None:
    assert list(one.tensors) == list(other.tensors)
    for name, stats in one.tensors.items():
        for part in ("lowest", "highest", "squares", "counts", "size"):
            np.testing.assert_array_equal(getattr(stats, part), getattr(other.tensors[name], part), f"{name} {part}")


class Interrupting:
    """Pictures of which one is never reached."""

    def __init__(self, pictures: Sequence[Picture], stop: int) -> None:
        self.pictures, self.stop, self.asked = pictures, stop, []

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Picture:
        if index == self.stop:
            raise KeyboardInterrupt
        self.asked.append(index)
        return self.pictures[index]


def test_the_whole_chain(phi3_bundle: Path, tmp_path: Path) -> None:
    seen: list[Step] = []
    pictures = [picture(number) for number in range(3)]
    found = gather(phi3_bundle, tmp_path, pictures, products, progress=seen.append)
    assert seen == [Step("calibration", done, 3, "pictures") for done in range(3)]
    assert found.pictures == 3 and not found.unreadable
    files = {name.partition(":")[0] for name in found.tensors}
    assert files == {"image_encoder.onnx", "llm.onnx", "mask_decoder.onnx"}
    reached = {name: stats for name, stats in found.tensors.items() if stats.reached}
    missing = set(found.tensors) - set(reached)
    assert len(missing) == 1, "an appended answer needs no logits, so the head saw nothing"
    assert next(iter(missing)).startswith("llm.onnx:")
    for stats in reached.values():
        assert np.isfinite(stats.energy).all() and np.isfinite(stats.amax).all()
        # Every element is in the histogram of a tensor with few rows.
        assert 0 < stats.histogram.sum() <= stats.size * stats.amax.size
        assert all(0 < activation_range(stats, method) <= stats.amax.max() for method in METHODS)


def test_an_interrupted_run_goes_on_bit_for_bit(
    phi3_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [picture(number, broken=number == 0) for number in range(6)]
    monkeypatch.setattr(module, "MAX_UNREADABLE", 0.2)
    whole = gather(phi3_bundle, tmp_path / "whole", pictures)
    monkeypatch.setattr(module, "SAVE_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        gather(phi3_bundle, tmp_path / "resumed", Interrupting(pictures, 3))
    rest = Interrupting(pictures, -1)
    resumed = gather(phi3_bundle, tmp_path / "resumed", rest)
    assert 0 < rest.asked[0] <= 3 and rest.asked[-1] == 5
    assert_equal(whole, resumed)
    assert resumed.unreadable == whole.unreadable == ("picture 0",)
    assert resumed.pictures == 5


def test_what_is_cached_is_not_collected_again(phi3_bundle: Path, tmp_path: Path) -> None:
    pictures = [picture(0), picture(1)]
    first = gather(phi3_bundle, tmp_path, pictures)
    none = Interrupting(pictures, 0)
    assert_equal(first, gather(phi3_bundle, tmp_path, none))
    fewer = gather(phi3_bundle, tmp_path, none, lambda model: few(model)[:1])
    assert set(fewer.tensors) < set(first.tensors)
    with pytest.raises(KeyboardInterrupt):
        gather(phi3_bundle, tmp_path, none, products)
    assert len(list(tmp_path.iterdir())) == 1


def test_the_key_is_of_all_that_statistics_depend_on(phi3_bundle: Path) -> None:
    manifest = read_manifest(phi3_bundle)
    one = data([picture(0)])
    key = cache_key(manifest, one, "greedy")
    assert key == cache_key(replace(manifest, precision="other", producer={}), one, "greedy")
    files = {**manifest.files, "llm.onnx.data": replace(manifest.files["llm.onnx.data"], sha256="0" * 64)}
    prompt = replace(manifest.settings.prompt, instruction="{input}!")
    others = {
        cache_key(manifest, one, "append"),
        cache_key(manifest, data([picture(0), picture(1)]), "greedy"),
        cache_key(replace(manifest, files=files), one, "greedy"),
        cache_key(replace(manifest, settings=replace(manifest.settings, prompt=prompt)), one, "greedy"),
    }
    assert len(others) == 4 and key not in others


@pytest.mark.parametrize("constant", [0, None], ids=["constant", "identical"])
def test_constant_and_identical_images_have_ranges(phi3_bundle: Path, tmp_path: Path, constant: int | None) -> None:
    found = gather(phi3_bundle, tmp_path, [picture(0, constant=constant) for _ in range(2)])
    for stats in found.tensors.values():
        assert all(np.isfinite(activation_range(stats, method)) for method in METHODS)


def test_too_many_unreadable_images(phi3_bundle: Path, tmp_path: Path) -> None:
    pictures = [picture(number, broken=number in (1, 3), asks=ASKS[:1]) for number in range(21)]
    with pytest.raises(InputError, match=r"2 of 4 images .* cannot be read, such as picture 1; at most 5%"):
        gather(phi3_bundle, tmp_path, pictures)


def test_an_ask_that_does_not_fit_names_its_picture(phi3_bundle: Path, tmp_path: Path) -> None:
    outside = Phrase("refer", "the <SEG>", None)
    with pytest.raises(InputError, match=r"^picture 0: the phrase"):
        gather(phi3_bundle, tmp_path, [picture(0, asks=(outside,))])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_name_graph_node_and_tensor(bad: float) -> None:
    probe = Probe("/layer/out", 2, 1, "/layer/MatMul")
    state = module.Saved({}, 1, {"llm.onnx:/layer/out": TensorStats.empty(2, False)})
    parts = dict.fromkeys(("lowest", "highest"), np.zeros(2, np.float32))
    parts |= {"squares": np.float32([1, bad]), "rows": np.zeros((1, 2), np.float32), "size": np.array([1])}
    with pytest.raises(XSamError, match=r"llm\.onnx: the tensor /layer/out, written by node /layer/MatMul, .* 1 of 2"):
        module._listen(state, "llm.onnx", probe, parts)


def test_a_damaged_weight_is_found_in_the_chain(phi3_bundle: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    for file in phi3_bundle.iterdir():
        (bundle / file.name).write_bytes(file.read_bytes())
    model = ir.load(bundle / "llm.onnx")
    node = [node for node in model.graph if node.op_type == "MatMul" and node.inputs[1].is_initializer()][4]
    weight = node.inputs[1].const_value
    with (bundle / weight.location).open("r+b") as data_file:
        data_file.seek(weight.offset)
        data_file.write(np.float32(np.nan).tobytes())
    with pytest.raises(XSamError, match=r"^picture 0: llm\.onnx: the tensor .*, written by node /llm/"):
        gather(bundle, tmp_path / "cache", [picture(0)], products)
    assert not list((tmp_path / "cache").iterdir())


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XSAM_EDGE_CACHE", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_cache() == tmp_path / ".cache" / "xsam-edge" / "calibration"
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    assert default_cache() == Path("/shared/xsam-edge/calibration")
    monkeypatch.setenv("XSAM_EDGE_CACHE", "/own")
    assert default_cache() == Path("/own/calibration")
