"""Questions over HTTP give what they give in a program."""

from __future__ import annotations

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageDraw

from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.results import rle
from xsam_edge.runtime.scene import Scene

pytest.importorskip("fastapi")

from tests.runtime.serve.served import Answer, Client, picture, png, served, until
from xsam_edge.runtime.serve.limits import Limits

PHRASE = "the blue circle"


def masks(answer: Answer) -> list[np.ndarray]:
    assert answer.status == 200, answer.body
    return [rle.decode(**entry["mask"]) for entry in answer.json["data"]]


def test_a_phrase(client: Client, scene: Scene) -> None:
    answer = client.segment(("image", picture()), ("prompt", PHRASE), ("mask_format", "rle"))
    expected = scene.refer(PHRASE)
    assert np.array_equal(masks(answer), expected.masks)
    (entry,) = answer.json["data"]
    assert entry["box"] == list(expected[0].box) and entry["score"] == pytest.approx(expected[0].score)
    assert (entry["label"], entry["area"], entry["prompt_index"]) == (PHRASE, expected[0].area, 0)
    told = answer.json
    assert (told["width"], told["height"], told["model"], told["task"]) == (160, 160, "shapes", "refer")
    assert told["results"][0]["prompt"] == PHRASE and told["results"][0]["found"]
    stages = {"waiting", "preprocess", "image_encoder", "llm", "mask_decoder", "postprocess", "total"}
    assert stages >= told["timings_ms"].keys() >= {"llm", "total"}


def test_forms_of_masks(client: Client, scene: Scene) -> None:
    mask = scene.refer(PHRASE)[0].mask
    (entry,) = client.segment(("image", picture()), ("prompt", PHRASE)).json["data"]
    image = Image.open(io.BytesIO(base64.b64decode(entry["mask"])))
    assert image.mode == "L" and np.array_equal(np.asarray(image), mask * np.uint8(255))
    (entry,) = client.segment(("image", picture()), ("prompt", PHRASE), ("mask_format", "polygon")).json["data"]
    drawn = Image.new("1", (320, 320))
    for polygon in entry["mask"]:
        ImageDraw.Draw(drawn).polygon([2 * value for value in polygon], fill=1)
    assert (np.asarray(drawn)[1::2, 1::2] == mask).mean() > 0.98


def test_several_phrases(client: Client, scene: Scene) -> None:
    phrases = [PHRASE, "the red cross", "the sand"]
    answer = client.segment(
        ("image", picture()), *(("prompt", phrase) for phrase in phrases), ("mask_format", "rle"), ("task", "refer")
    )
    assert np.array_equal(masks(answer), [result[0].mask for result in scene.refer(phrases)])
    assert [entry["prompt_index"] for entry in answer.json["data"]] == [0, 1, 2]
    assert [result["prompt"] for result in answer.json["results"]] == phrases


def test_what_is_not_there(client: Client) -> None:
    answer = client.segment(("image", picture()), ("prompt", "the green star"), ("threshold", "1"))
    assert answer.json["data"] == []
    (result,) = answer.json["results"]
    assert not result["found"] and "below the threshold" in result["reason"]


def test_a_question_and_options(client: Client, scene: Scene) -> None:
    answer = client.segment(
        ("image", picture()), ("task", "reason"), ("prompt", "Which thing is the largest?"), ("several", "true"),
        ("threshold", "official"), ("mask_format", "rle"),
    )  # fmt: skip
    expected = scene.reason("Which thing is the largest?", several=True, threshold="official")
    assert np.array_equal(masks(answer), expected.masks)


@pytest.mark.parametrize("form", [None, "panoptic", "instances", "semantic"])
def test_categories(client: Client, scene: Scene, form: str | None) -> None:
    fields = [("things", "circle,cross"), ("stuff", '["sand", "grass"]'), ("mask_format", "rle")]
    fields += [("form", form)] if form else []
    answer = client.segment(("image", picture()), *fields)
    chosen = {"instances": form == "instances", "semantic": form == "semantic"} if form else {}
    expected = scene.categories(["circle", "cross"], ["sand", "grass"], **chosen)
    assert np.array_equal(masks(answer), expected.masks)
    assert [entry["label"] for entry in answer.json["data"]] == expected.labels


def test_regions(client: Client, scene: Scene) -> None:
    box, point = (62, 36, 126, 99), (94, 68)
    answer = client.segment(("image", picture()), ("boxes", json.dumps([box])), ("mask_format", "rle"))
    expected = scene.regions(boxes=[box])
    assert np.array_equal(masks(answer), expected.masks)
    both = client.segment(
        ("image", picture()), ("boxes", json.dumps(box)), ("points", json.dumps([point])), ("mask_format", "rle")
    )
    assert np.array_equal(masks(both), scene.regions(boxes=[box], points=[point]).masks)
    similar = client.segment(
        ("image", picture()), ("points", json.dumps([point])), ("similar", "true"), ("mask_format", "rle")
    )
    assert np.array_equal(masks(similar), scene.regions(points=[point], similar=True).masks)


def test_masks_as_regions(client: Client, scene: Scene) -> None:
    mask = scene.refer(PHRASE)[0].mask
    file = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(file, "PNG")
    expected = scene.regions(masks=[mask]).masks
    for given in (file.getvalue(), json.dumps([rle.encode(mask)]), json.dumps(rle.encode(mask))):
        answer = client.segment(("image", picture()), ("masks", given), ("mask_format", "rle"))
        assert np.array_equal(masks(answer), expected)


def test_a_caption(client: Client, scene: Scene) -> None:
    answer = client.segment(("image", picture()), ("task", "caption"), ("mask_format", "rle"))
    expected = scene.describe()
    assert np.array_equal(masks(answer), expected.masks)
    (told,) = answer.json["results"]
    assert told["caption"] == expected.caption
    spans = [entry["caption_span"] for entry in answer.json["data"]]
    assert [told["caption"][start:end] for start, end in spans] == expected.labels


def test_a_picture_that_was_sent_before(client: Client, scene: Scene) -> None:
    first = client.segment(("image", picture(82)), ("prompt", PHRASE), ("mask_format", "rle"))
    assert not first.json["cached"] and first.json["timings_ms"]["image_encoder"] > 0
    for again in (("scene", first.json["scene"]), ("image", picture(82))):
        second = client.segment(again, ("prompt", PHRASE), ("mask_format", "rle"))
        assert second.json["cached"] and second.json["scene"] == first.json["scene"]
        assert "image_encoder" not in second.json["timings_ms"]
        assert second.json["data"] == first.json["data"]
    assert client.ask(f"/v1/scenes/{first.json['scene']}", method="DELETE").status == 204
    gone = client.segment(("scene", first.json["scene"]), ("prompt", PHRASE))
    assert (
        gone.status == 404
        and gone.error["code"] == "scene_not_found"
        and "send the picture again" in gone.error["message"]
    )


def test_a_file_of_some_megabytes(client: Client) -> None:
    """No layer of other packages has a lower limit; what stands behind a file's end changes nothing."""
    answer = client.segment(("image", picture() + bytes(8 << 20)), ("prompt", PHRASE))
    assert answer.status == 200, answer.body


def test_a_data_uri_as_the_image(client: Client, scene: Scene) -> None:
    uri = "data:image/png;base64," + base64.b64encode(picture()).decode()
    answer = client.segment(("image", uri), ("prompt", PHRASE), ("mask_format", "rle"))
    assert np.array_equal(masks(answer), scene.refer(PHRASE).masks)


def ask_together(client: Client, model: XSam, phrases: list[str]) -> list[Answer]:
    """The answers to phrases about one picture that all wait behind another question."""
    id = client.segment(("image", picture()), ("prompt", "the sand")).json["scene"]
    rest = ("scene", id), ("mask_format", "rle")
    with ThreadPoolExecutor(len(phrases) + 1) as pool:
        with model.pipeline.turn():
            first = pool.submit(client.segment, ("prompt", "the sand"), *rest)
            until(lambda: model.pipeline._turn.waiting == 1)
            answers = [pool.submit(client.segment, ("prompt", text), *rest) for text in phrases]
            until(lambda: client.service.worker.waiting == len(phrases))
        assert first.result().status == 200
        return [answer.result() for answer in answers]


def test_questions_that_come_together_are_one_batch(model: XSam, scene: Scene) -> None:
    phrases = [PHRASE, "the red cross", "the sand", "the white circle"] * 3
    with served(model) as client:
        answers = ask_together(client, model, phrases)
        page = client.ask("/metrics").body.decode()
    for text, answer in zip(phrases, answers, strict=True):
        assert np.array_equal(masks(answer), scene.refer(text).masks)
    assert 'xsam_batch_prompts_bucket{le="1.0"} 2\n' in page
    assert "xsam_batch_prompts_sum 146\n" in page  # 2 alone, and 12 of 12 together


def test_one_bad_prompt_of_a_batch_is_the_only_one_that_fails(model: XSam) -> None:
    with served(model, limits=Limits(text=100_000)) as client:
        answers = ask_together(client, model, ["the sand", "the very " + "long " * 9000 + "phrase", PHRASE])
    assert [answer.status for answer in answers] == [200, 400, 200]
    assert answers[1].error["code"] == "context_length_exceeded"


def test_pictures_that_come_together_are_encoded_once(model: XSam) -> None:
    with served(model) as client, ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(client.segment, ("image", picture(81)), ("prompt", PHRASE)) for _ in range(6)]
        assert len({answer.result().json["scene"] for answer in asked}) == 1
        assert sum(not answer.result().json["cached"] for answer in asked) == 1
        assert len(client.service.scenes) == 1


def test_facts(client: Client, model: XSam) -> None:
    (entry,) = client.ask("/v1/models").json["data"]
    assert (entry["id"], entry["object"], entry["precision"]) == ("shapes", "model", "fp32")
    assert client.ask("/healthz").json == {"status": "ok"}
    assert client.ask("/readyz").json == {"status": "ready"}
    schema = client.ask("/openapi.json").json
    assert {"/v1/images/segmentations", "/v1/chat/completions", "/v1/models"} <= schema["paths"].keys()
    for path in ("/docs", "/redoc", "/nothing", "/page/../app.py", "/page/app.py"):
        answer = client.ask(path)
        assert answer.status == 404 and answer.error["type"] == "not_found_error"
    assert client.ask("/v1/images/segmentations").status == 405
    named = client.segment(("image", picture()), ("prompt", PHRASE), ("model", "gpt"))
    assert (named.status, named.error["code"], named.error["param"]) == (404, "model_not_found", "model")


def test_the_page_has_a_strict_policy(client: Client) -> None:
    answer = client.ask("/")
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_kept_pictures_are_bounded(model: XSam) -> None:
    with served(model, limits=Limits(scenes=2)) as client:
        ids = [client.segment(("image", picture(index)), ("prompt", PHRASE)).json["scene"] for index in (80, 81, 82)]
        assert len(client.service.scenes) == 2
        assert [client.segment(("scene", id), ("prompt", PHRASE)).status for id in ids] == [404, 200, 200]


def test_a_mask_of_another_size(client: Client) -> None:
    answer = client.segment(("image", picture()), ("masks", png(20, 20)))
    assert answer.status == 400 and "20 x 20" in answer.error["message"] and "160 x 160" in answer.error["message"]
