"""A real Triton server with two instances: its answers are the runtime's, and what it cannot answer harms nobody."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.triton.client import Array, infer, numbers, png, texts
from tests.triton_server import Server, missing, serve
from xsam_edge.runtime import Result, Scene, XSam
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.triton.signature import OUTPUTS

pytestmark = pytest.mark.triton

IMAGES = (83, 84)
PHRASES = ("the blue circle", "the red cross", "the sand", "the green star", "the white shape left of the red cross")
REFER = texts("refer")


@pytest.fixture(scope="module")
def pixels() -> dict[int, Array]:
    """Drawn scenes, uint8 [H, W, 3]."""
    from xsam_edge.calibration.shapes.composition import compose
    from xsam_edge.calibration.shapes.draw import draw

    return {number: draw(compose(number), 480).pixels for number in IMAGES}


@pytest.fixture(scope="module")
def files(pixels: dict[int, Array]) -> dict[int, Array]:
    """The same as IMAGE."""
    return {number: texts(png(array)) for number, array in pixels.items()}


@pytest.fixture(scope="module")
def server(shapes_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the model in two instances, and one whose bundle is not there."""
    assert not missing(), missing()
    from xsam_edge.export.cli import main

    folder = tmp_path_factory.mktemp("triton")
    repository = folder / "models"
    options = ["--instances", "2", "--threads", "1", "--copy-bundle"]
    assert main(["--from", str(shapes_bundle), "--triton", str(repository), *options]) == 0
    config = (repository / "xsam" / "config.pbtxt").read_text()
    for name, value in {"absent": "nowhere", "altered": "1/bundle"}.items():
        (repository / name).mkdir()
        text = config.replace('name: "xsam"', f'name: "{name}"').replace('"1/bundle"', f'"{value}"')
        (repository / name / "config.pbtxt").write_text(text)
        shutil.copytree(repository / "xsam" / "1", repository / name / "1")
    with (repository / "altered" / "1" / "bundle" / "llm.onnx.data").open("r+b") as file:
        file.write(b"not these weights")
    with serve(repository, folder, ["xsam"]) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    """A client for HTTP."""
    import tritonclient.http

    with tritonclient.http.InferenceServerClient(server.http) as opened:
        yield opened


@pytest.fixture(scope="module", params=["http", "grpc"])
def ask(request: pytest.FixtureRequest, server: Server) -> Iterator[Callable[..., dict[str, Array]]]:
    """Asks the model by one of the protocols."""
    import tritonclient.grpc
    import tritonclient.http

    library, url = {"http": (tritonclient.http, server.http), "grpc": (tritonclient.grpc, server.grpc)}[request.param]
    client = library.InferenceServerClient(url)
    yield lambda **tensors: infer(library, client, **tensors)
    client.close()


@pytest.fixture(scope="module")
def model(shapes_bundle: Path) -> XSam:
    return XSam.load(shapes_bundle, threads=1)


@pytest.fixture(scope="module")
def scene(model: XSam, pixels: dict[int, Array]) -> Scene:
    return model.look(pixels[83])


def agree(outputs: dict[str, Array], expected: list[Result]) -> None:
    """Outputs are those of the runtime."""
    segments = [segment for result in expected for segment in result]
    assert set(outputs) == {tensor.name for tensor in OUTPUTS}
    found = {name: array[0] for name, array in outputs.items()}
    assert found["MASKS"].shape == (len(segments), *expected[0].image_size)
    assert np.array_equal(found["MASKS"], np.concatenate([result.masks for result in expected]))
    for mask, text in zip(found["MASKS"], found["RLE"], strict=True):
        assert np.array_equal(rle.decode(**json.loads(text)), mask)
    np.testing.assert_allclose(found["SCORES"], np.concatenate([result.scores for result in expected]), atol=1e-5)
    assert np.array_equal(found["BOXES_OUT"], np.concatenate([result.boxes for result in expected]))
    assert [label.decode() for label in found["LABELS"]] == [segment.label or "" for segment in segments]
    assert found["LABEL_IDS"].tolist() == [segment.label_id for segment in segments]
    assert found["SEGMENT_IDS"].tolist() == [segment.id for segment in segments]
    owners = [index for index, result in enumerate(expected) for _ in result]
    assert found["PROMPT_IDS"].tolist() == owners
    assert [text.decode() for text in found["TEXT"]] == [result.text for result in expected]
    assert [text.decode() for text in found["REASONS"]] == [result.reason for result in expected]
    assert all("llm" in json.loads(text) for text in found["TIMINGS"])
    (id_map,) = {id(result.id_map): result.id_map for result in expected[:1]}.values()
    assert np.array_equal(found["ID_MAP"], np.zeros((0, 0)) if id_map is None else id_map)


THINGS, STUFF = ["circle", "cross", "star"], ["sand", "grass"]
NAMES: dict[str, Array] = {"THINGS": texts(*THINGS), "STUFF": texts(*STUFF)}
BOX, POINT = (190.0, 110.0, 380.0, 300.0), (240.0, 200.0)
TASKS: dict[str, tuple[dict[str, Array], Callable[[Scene], Any]]] = {
    "refer": ({"PROMPTS": texts(PHRASES[0])}, lambda scene: scene.refer(PHRASES[0])),
    "refer-two": ({"PROMPTS": texts(*PHRASES[:2])}, lambda scene: scene.refer(PHRASES[:2])),
    "refer-absent": (
        {"PROMPTS": texts(PHRASES[3]), "THRESHOLD": numbers(0.99)},
        lambda scene: scene.refer(PHRASES[3], threshold=0.99),
    ),
    "refer-append": (
        {"PROMPTS": texts(PHRASES[0]), "ANSWER": texts("append"), "SEVERAL": np.array([[True]])},
        lambda scene: scene.refer(PHRASES[0], answer="append", several=True),
    ),
    "reason": ({"PROMPTS": texts("Which thing is the largest?")}, lambda s: s.reason("Which thing is the largest?")),
    "panoptic": (NAMES, lambda scene: scene.categories(THINGS, STUFF)),
    "instances": ({"THINGS": NAMES["THINGS"]}, lambda scene: scene.categories(THINGS)),
    "semantic": (NAMES, lambda scene: scene.categories(THINGS, STUFF, semantic=True)),
    "regions": ({"BOXES": numbers(BOX)}, lambda scene: scene.regions(boxes=[BOX])),
    "regions-two": (
        {"BOXES": numbers(BOX), "POINTS": numbers(POINT)},
        lambda scene: scene.regions(boxes=[BOX], points=[POINT]),
    ),
    "regions-similar": (
        {"POINTS": numbers(POINT), "SIMILAR": np.array([[True]])},
        lambda scene: scene.regions(points=[POINT], similar=True),
    ),
    "describe": ({}, lambda scene: scene.describe()),
    "chat": ({"PROMPTS": texts("Is there a star?")}, lambda scene: scene.chat("Is there a star?")),
    "chat-short": (
        {"PROMPTS": texts("Is there a star?", "What is there?"), "MAX_NEW_TOKENS": np.array([[2]], np.int32)},
        lambda s: [s.chat(text, max_new_tokens=2) for text in ("Is there a star?", "What is there?")],
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_those_of_the_runtime(
    task: str, ask: Callable[..., dict[str, Array]], scene: Scene, files: dict[int, Array]
) -> None:
    tensors, own = TASKS[task]
    outputs = ask(TASK=texts(task.partition("-")[0]), IMAGE=files[83], **tensors)
    expected = own(scene)
    agree(outputs, expected if isinstance(expected, list) else [expected])


def test_pixels_in_place_of_a_file(
    ask: Callable[..., dict[str, Array]], scene: Scene, pixels: dict[int, Array]
) -> None:
    outputs = ask(TASK=REFER, PIXELS=pixels[83][None], PROMPTS=texts(PHRASES[0]))
    agree(outputs, [scene.refer(PHRASES[0])])


def test_what_was_not_asked_for_is_not_sent(ask: Callable[..., dict[str, Array]], files: dict[int, Array]) -> None:
    outputs = ask(TASK=REFER, IMAGE=files[83], PROMPTS=texts(PHRASES[0]), wanted=("RLE", "SCORES"))
    assert set(outputs) == {"RLE", "SCORES"}


def test_an_image_is_encoded_once_by_an_instance(client: Any, pixels: dict[int, Array]) -> None:
    import tritonclient.http

    new = {"TASK": REFER, "PIXELS": pixels[83][None, :400], "PROMPTS": texts(PHRASES[0])}
    answers = [infer(tritonclient.http, client, ("TIMINGS",), **new) for _ in range(6)]
    told = [json.loads(outputs["TIMINGS"][0, 0]) for outputs in answers]
    assert 1 <= sum("image_encoder" in timings for timings in told) <= 2


NOISE = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
BAD: dict[str, tuple[dict[str, Array], str]] = {
    "no image": ({"IMAGE": None}, "no image was given; give IMAGE"),  # type: ignore[dict-item]
    "two images": ({"PIXELS": np.zeros((1, 4, 4, 3), np.uint8)}, "IMAGE and PIXELS were given together"),
    "part of an image": ({"IMAGE": texts(png(NOISE)[:2000])}, "is truncated or damaged"),
    "text that is no image": ({"IMAGE": texts("an image")}, "is not an image that Pillow can read"),
    "an empty file": ({"IMAGE": texts(b"")}, "empty"),
    "an image without pixels": ({"IMAGE": None, "PIXELS": np.zeros((1, 0, 4, 3), np.uint8)}, "0 x 4"),  # type: ignore[dict-item]
    "an unknown task": ({"TASK": texts("segment")}, "TASK is 'segment'; choose 'refer' or 'reason'"),
    "no prompt": ({"PROMPTS": None}, "PROMPTS are missing; refer takes"),  # type: ignore[dict-item]
    "an empty prompt": ({"PROMPTS": texts("  ")}, "is empty; say what to look for"),
    "a prompt that is no text": ({"PROMPTS": texts(b"\xff\xfe")}, "PROMPTS holds what is no text in UTF-8"),
    "a marker": ({"PROMPTS": texts("a <p> b")}, "controls the model; leave it out"),
    "too many prompts": ({"PROMPTS": texts(*["a"] * 65)}, "PROMPTS are 65; one request takes up to 64"),
    "an input of another task": ({"BOXES": numbers(BOX)}, "BOXES does not apply to refer, only to regions"),
    "NaN": (
        {"TASK": texts("regions"), "PROMPTS": None, "BOXES": numbers((0, 0, np.nan, 9))},  # type: ignore[dict-item]
        "BOXES holds [0.0, 0.0, nan, 9.0]; expected finite numbers",
    ),
    "outside": (
        {"TASK": texts("regions"), "PROMPTS": None, "POINTS": numbers((999, 9))},  # type: ignore[dict-item]
        "lies outside the image, 480 x 480 pixels",
    ),
    "no region": ({"TASK": texts("regions"), "PROMPTS": None}, "no region was given"),  # type: ignore[dict-item]
    "10,000 categories": (
        {
            "TASK": texts("instances"),
            "PROMPTS": None,  # type: ignore[dict-item]
            "THINGS": texts(*(f"thing {index}" for index in range(10_000))),
        },
        "tokens",
    ),
    "a name twice": (
        {"TASK": texts("panoptic"), "PROMPTS": None, "THINGS": texts("cup", "Cup")},  # type: ignore[dict-item]
        "give each name once",
    ),
    "a threshold": ({"THRESHOLD": numbers(7)}, "THRESHOLD is 7.0; expected a number from 0 to 1"),
    "two images a request": ({"PROMPTS": np.array([["a"], ["b"]], np.object_)}, "batch"),
    "another type": ({"THRESHOLD": np.array([[1]], np.int32)}, "data-type is 'INT32', but model 'xsam' expects 'FP32'"),
    "another shape": ({"THRESHOLD": numbers(0.5, 0.5)}, "unexpected shape for input 'THRESHOLD'"),
    "an unknown input": ({"PROMPT": texts("a")}, "unexpected inference input 'PROMPT'"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_requests_are_told_why(
    fault: str, ask: Callable[..., dict[str, Array]], scene: Scene, files: dict[int, Array]
) -> None:
    from tritonclient.utils import InferenceServerException

    changes, message = BAD[fault]
    good = {"TASK": REFER, "IMAGE": files[83], "PROMPTS": texts(PHRASES[0])}
    tensors = {name: array for name, array in {**good, **changes}.items() if array is not None}
    with pytest.raises(InferenceServerException) as caught:
        ask(**tensors)
    assert message in str(caught.value)
    agree(ask(**good), [scene.refer(PHRASES[0])])


def test_eight_threads(
    server: Server, client: Any, model: XSam, pixels: dict[int, Array], files: dict[int, Array]
) -> None:
    """No answer is another's, whoever shares a batch, and one bad request of a batch leaves the rest alone."""
    import tritonclient.http
    from tritonclient.utils import InferenceServerException

    scenes = {number: model.look(array) for number, array in pixels.items()}
    expected = {(number, text): scenes[number].refer(text) for number in IMAGES for text in PHRASES}
    work = [(number, text) for _ in range(4) for number in IMAGES for text in (*PHRASES, "a <SEG>")]
    own = threading.local()  # a client for HTTP is not for several threads
    clients = []

    def start() -> None:
        own.client = tritonclient.http.InferenceServerClient(server.http)
        clients.append(own.client)

    def one(asked: tuple[int, str]) -> dict[str, Array] | InferenceServerException:
        try:
            return infer(tritonclient.http, own.client, TASK=REFER, IMAGE=files[asked[0]], PROMPTS=texts(asked[1]))
        except InferenceServerException as error:
            return error

    def batches() -> dict[int, int]:
        (model,) = client.get_inference_statistics("xsam")["model_stats"]
        return {int(item["batch_size"]): int(item["compute_infer"]["count"]) for item in model["batch_stats"]}

    before = batches()
    with ThreadPoolExecutor(8, initializer=start) as pool:
        answers = list(pool.map(one, work))
    for opened in clients:
        opened.close()  # the server waits for them when it stops
    for asked, answer in zip(work, answers, strict=True):
        if asked in expected:
            assert isinstance(answer, dict), answer
            masks = answer["MASKS"][0].astype(bool)
            assert np.array_equal(masks, expected[asked].masks), asked
            assert answer["TEXT"][0, 0].decode() == expected[asked].text
        else:
            assert "controls the model" in str(answer)
    together = {size: count - before.get(size, 0) for size, count in batches().items() if size > 1}
    assert sum(together.values()) > 0, "no requests were put together"


def test_many_masks_of_a_large_picture(ask: Callable[..., dict[str, Array]], model: XSam) -> None:
    large = np.random.default_rng(0).integers(0, 256, (3000, 4000, 3), np.uint8)
    tensors = {"THINGS": texts(*THINGS), "THRESHOLD": numbers(0)}
    outputs = ask(TASK=texts("instances"), PIXELS=large[None], **tensors, wanted=("MASKS", "SCORES"))
    expected = model.look(large).categories(THINGS, threshold=0)
    assert outputs["MASKS"].shape == (1, len(expected), 3000, 4000)
    assert np.array_equal(outputs["MASKS"][0].sum((1, 2)), [segment.area for segment in expected])


def test_a_model_goes_and_comes(server: Server, client: Any, scene: Scene, files: dict[int, Array]) -> None:
    import tritonclient.http

    before = server.children()
    assert len(before) == 2
    client.unload_model("xsam")
    end = time.monotonic() + 30
    while server.children() and time.monotonic() < end:
        time.sleep(0.1)
    assert not server.children(), "their memory is free when they are gone"
    assert not client.is_model_ready("xsam")
    client.load_model("xsam")
    assert client.is_model_ready("xsam")
    outputs = infer(tritonclient.http, client, TASK=REFER, IMAGE=files[83], PROMPTS=texts(PHRASES[1]))
    agree(outputs, [scene.refer(PHRASES[1])])
    assert len(server.children()) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [("absent", "absent/nowhere is not a bundle"), ("altered", "llm.onnx.data was altered: its SHA-256 is")],
)
def test_a_bundle_that_cannot_be_loaded(client: Any, name: str, message: str) -> None:
    from tritonclient.utils import InferenceServerException

    with pytest.raises(InferenceServerException) as caught:
        client.load_model(name)
    assert message in str(caught.value)
    assert client.is_server_live() and client.is_model_ready("xsam")


def test_the_client_of_the_documentation(
    server: Server, scene: Scene, files: dict[int, Array], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = Path(__file__).parents[3] / "examples" / "triton" / "client.py"
    (tmp_path / "scene.png").write_bytes(files[83][0, 0])
    names: dict[str, Any] = {}
    monkeypatch.setattr("sys.argv", [str(program), server.http, str(tmp_path / "scene.png"), *PHRASES[:2]])
    exec(compile(program.read_text(), program, "exec"), names)
    assert np.array_equal(names["masks"], np.concatenate([scene.refer(text).masks for text in PHRASES[:2]]))
