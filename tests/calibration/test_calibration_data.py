import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.annotated import write_image, write_instances, write_panoptic
from tests.scripted import Data
from xsam_edge.calibration import open_data
from xsam_edge.calibration.calibration_data import divide, open_calibration
from xsam_edge.calibration.data.jsonl import open_jsonl
from xsam_edge.calibration.data.plain_images import image_asks
from xsam_edge.calibration.data.prompt_source import ASKS, pick_asks
from xsam_edge.calibration.data.samples import TASKS, Caption, Categories, Phrase, Regions
from xsam_edge.runtime.errors import InputError


def names(pictures: Any) -> list[str]:
    return [picture.name for picture in pictures]


def write_lines(path: Path, *records: Any) -> Path:
    path.write_text("\n".join(record if isinstance(record, str) else json.dumps(record) for record in records))
    return path


def ask(image: str = "a.png", task: str = "refer", prompt: Any = "the cat") -> dict[str, Any]:
    return {"image": image, "task": task, "prompt": prompt}


# Generators


def test_shapes_are_of_their_calibration_split_and_cover_every_task() -> None:
    data = open_calibration("shapes", 8, 3)
    assert names(data.calibration) == [f"shapes-{seed}" for seed in range(20_000, 20_008)]
    assert names(data.held_out) == [f"shapes-{seed}" for seed in range(29_997, 30_000)]
    asks = [item for picture in data.calibration for item in picture.asks]
    assert all(1 <= len(picture.asks) <= ASKS for picture in data.calibration)
    assert {item.task for item in asks} == set(TASKS)
    assert len({item.kind for item in asks if isinstance(item, Phrase) and item.task == "refer"}) >= 3
    assert {item.kind for item in asks if isinstance(item, Regions)} >= {"mask", "box", "point"}
    assert data.notes == ()


def test_pictures_are_the_same_whenever_they_are_made() -> None:
    data = open_calibration("shapes", 3, 1)
    one, other = data.calibration[2], open_calibration("shapes", 3, 1).calibration[2]
    assert one.name == other.name and np.array_equal(one.image(), other.image())
    assert [item.task for item in one.asks] == [item.task for item in other.asks]
    assert names(data.calibration[1:]) == names(data.calibration)[1:]
    assert data.calibration[-1].name == one.name


def test_another_split_or_number_is_another_description() -> None:
    described = [
        json.dumps(open_calibration(name, samples, 1).describe(), sort_keys=True)
        for name, samples in (("shapes", 3), ("shapes", 4), ("shapes:val", 3), ("shapes:20001-20100", 3))
    ]
    assert len(set(described)) == 4
    assert described[0] == json.dumps(open_calibration("shapes", 3, 2).describe(), sort_keys=True)


def test_a_split_of_any_size_is_opened_at_once() -> None:
    data = open_calibration("shapes:train", 2, 1)
    assert names(data.calibration) == ["shapes-1000000", "shapes-1000001"]
    assert names(data.held_out) == ["shapes-99999999"]


def test_a_few_seeds_are_divided() -> None:
    data = open_calibration("shapes:5-8", 256, 64)
    assert names(data.calibration) == ["shapes-5", "shapes-6", "shapes-7"] and names(data.held_out) == ["shapes-8"]
    assert "3 pictures to calibrate on, fewer than the 256" in data.notes[0]
    assert "1 picture to judge by, fewer than the 64" in data.notes[1]


def test_a_single_scene_serves_both() -> None:
    data = open_calibration("shapes:5-5", 1, 1)
    assert names(data.calibration) == names(data.held_out) == ["shapes-5"]
    assert "single image" in data.notes[0]


# Dividing and choosing


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 320, 1000])
@pytest.mark.parametrize(("samples", "held_out"), [(1, 1), (256, 64), (1, 64), (64, 1), (5, 0)])
def test_parts_share_nothing(count: int, samples: int, held_out: int) -> None:
    calibration, judged = divide(count, lambda index: index, samples, held_out)
    assert 1 <= len(calibration) <= samples and len(judged) <= held_out
    if not held_out:
        assert calibration == range(min(samples, count)) and not judged
    elif count == 1:
        assert calibration == judged == range(1)
    else:
        assert len(judged) >= 1 and calibration.stop <= judged.start and judged.stop == count
        if count >= samples + held_out:
            assert (len(calibration), len(judged)) == (samples, held_out)


@pytest.mark.parametrize("groups", ["AAABBBB", "AABBCC", "AAAAAB", "ABBBBB", "AAAABBC"])
@pytest.mark.parametrize(("samples", "held_out"), [(3, 2), (256, 64), (1, 1), (2, 5)])
def test_an_image_is_not_in_both_parts(groups: str, samples: int, held_out: int) -> None:
    calibration, judged = divide(len(groups), groups.__getitem__, samples, held_out)
    assert calibration and judged
    assert not {groups[index] for index in calibration} & {groups[index] for index in judged}


def test_one_image_of_many_asks_serves_both() -> None:
    assert divide(4, lambda _: "A", 3, 2) == (range(3), range(2, 4))


def test_tasks_and_kinds_take_turns() -> None:
    asks = image_asks(Path("a.png"))
    picked = [pick_asks(asks, number) for number in range(len(TASKS) * 8)]
    counts = Counter(item.task for items in picked for item in items)
    assert set(counts) == set(TASKS) and max(counts.values()) == min(counts.values())
    assert {id(item) for items in picked for item in items} == {id(item) for item in asks}
    assert pick_asks(asks[:1], 5) == (asks[0],), "one ask is asked once"
    assert pick_asks([], 0) == ()


# Folders


def test_plain_images(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/10.jpg", "a.png", "c.webp", "d.bmp"):
        write_image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "metadata.json").write_text("{}")
    (tmp_path / "a.png.part").write_text("")
    (tmp_path / "._a.png").write_text("a file of another system")
    data = open_calibration(str(tmp_path), 4, 1)
    assert names(data.calibration) == ["a.png", "b/10.jpg", "b/2.JPG", "c.webp"] and names(data.held_out) == ["d.bmp"]
    picture = data.calibration[0]
    assert picture.image().size == (16, 12)
    for item in (item for picture in data.calibration for item in picture.asks):
        for mask in item.prompts if isinstance(item, Regions) else ():
            assert mask().shape == (12, 16) and mask()[6, 8]
    before = data.describe()
    assert before == open_calibration(str(tmp_path), 4, 1).describe()
    Image.new("RGB", (16, 12), (1, 2, 3)).save(tmp_path / "a.png")
    assert data.describe() != before


def test_what_was_left_out_of_annotations_is_noted(tmp_path: Path) -> None:
    path = write_instances(tmp_path)
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = []
    path.write_text(json.dumps(content))
    (note,) = open_calibration(str(tmp_path), 1, 1).notes
    assert note.startswith(f"{path}: 1 annotation has no outline")


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (40, 30)])
def test_regions_of_plain_images_have_pixels(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_image(tmp_path / "a.png", size)
    regions = [item for item in image_asks(path) if isinstance(item, Regions)]
    assert all(prompt().any() and prompt().shape == size for item in regions for prompt in item.prompts)
    assert len(regions) == 3


def test_an_annotated_folder(tmp_path: Path) -> None:
    write_instances(tmp_path, images=4)
    write_panoptic(tmp_path)
    data = open_calibration(str(tmp_path), 2, 1)
    assert len(data.calibration) == 2 and len(data.held_out) == 1
    tasks = {item.task for picture in data.calibration for item in picture.asks}
    assert tasks == {"panoptic", "semantic", "instances", "regions"}
    before = data.describe()
    annotations = tmp_path / "annotations" / "instances_val2017.json"
    annotations.write_text(annotations.read_text() + " ")
    assert data.describe() != before
    json.dumps(before)


def test_a_missing_image_is_unreadable_and_part_of_the_description(tmp_path: Path) -> None:
    write_lines(tmp_path / "a.jsonl", ask("gone.png"), ask("empty.png"))
    (tmp_path / "empty.png").touch()
    data = open_calibration(str(tmp_path / "a.jsonl"), 1, 1)
    for picture in (*data.calibration, *data.held_out):
        with pytest.raises(OSError, match=r"gone|empty"):
            picture.image()
    before = data.describe()
    write_image(tmp_path / "gone.png")
    assert data.describe() != before


# JSONL


def test_every_task_of_jsonl(tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "a.png")
    image = "images/a.png"
    things = {"things": ["cat", "dog"], "stuff": "sky, wall"}
    path = write_lines(
        tmp_path / "asks.jsonl",
        "\ufeff" + json.dumps(ask(image)),
        "",
        ask(image, "reason", "What purrs?"),
        ask(image, "categories", ["cat", "dog"]),
        ask("images/../" + image, "panoptic", things),
        ask(image, "semantic", "sky, wall"),
        ask(image, "instances", "cat"),
        ask(image, "regions", {"box": [1, 2, 5, 6.5]}),
        ask(image, "regions", {"point": [8, 3]}),
        ask(image, "regions", [{"point": [8, 3]}, {"box": [1, 2, 5, 6]}]),
        {"image": image, "task": "describe"},
        ask(str(tmp_path / image), "captions", "anything"),
    )
    source = open_jsonl(path)
    pictures = [source.picture(index) for index in range(source.count)]
    assert [len(picture.asks) for picture in pictures] == [4, 4, 3], "one image, however its path is written"
    assert len({picture.name for picture in pictures}) == 3
    refer, reason, several, panoptic, semantic, instances, box, point, similar, *described = [
        item for picture in pictures for item in picture.asks
    ]
    assert isinstance(refer, Phrase) and (refer.task, refer.text) == ("refer", "the cat")
    assert isinstance(reason, Phrase) and (reason.task, reason.text) == ("reason", "What purrs?")
    for item, task, wanted, count in (
        (several, "panoptic", ("cat", "dog"), 2),
        (panoptic, "panoptic", ("cat", "dog", "sky", "wall"), 2),
        (semantic, "semantic", ("sky", "wall"), 2),
        (instances, "instances", ("cat",), 1),
    ):
        assert isinstance(item, Categories) and (item.task, item.names, item.things) == (task, wanted, count)
    assert isinstance(box, Regions) and not box.similar and box.prompts[0]().sum() == 4 * 5
    assert isinstance(point, Regions) and not point.similar and point.prompts[0]()[3, 8]
    assert isinstance(similar, Regions) and similar.similar and len(similar.prompts) == 2
    assert all(isinstance(item, Caption) for item in described) and len(described) == 2


def test_jsonl_is_divided_by_image(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", *(ask(f"{index % 3}.png", prompt=f"cat {index}") for index in range(30)))
    data = open_calibration(str(path), 256, 2)
    parts = [f"{number}.png{part}" for number in (0, 1) for part in ("", "#2", "#3")]
    assert [Path(name).name for name in names(data.calibration)] == parts
    assert [Path(name).name for name in names(data.held_out)][-1] == "2.png#3"
    assert [len(picture.asks) for picture in data.calibration] == [4, 4, 2] * 2
    before = data.describe()
    write_lines(path, *(ask(f"{index % 3}.png", prompt=f"dog {index}") for index in range(30)))
    assert data.describe() != before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "cannot be read as JSON .*; a line is an object with image, task and prompt"),
        ("[1]", "expected an object"),
        ({"task": "refer", "prompt": "x"}, "has no 'image'"),
        (ask(image=""), "expected the path of an image"),
        (ask(task="segment"), "the task 'segment' is unknown; choose one of refer, reason, categories, .*describe"),
        (ask(task="chat"), "chat is not calibrated on"),
        (ask(prompt=3), "prompt is 3; expected text"),
        (ask(prompt=" "), "is empty"),
        (ask(prompt="the <SEG>"), "contains '<SEG>'"),
        ({"image": "a.png", "task": "reason"}, "has no 'prompt'"),
        (ask(task="panoptic", prompt=3), "prompt is 3; expected text or a list or an object; names are a list"),
        (ask(task="panoptic", prompt=["cat", 3]), r"prompt\[1\] is 3; expected text"),
        (ask(task="panoptic", prompt="cat,,dog"), "is empty"),
        (ask(task="panoptic", prompt=[]), "no category"),
        (ask(task="panoptic", prompt=["wall", "wall-merged"]), "both read 'wall'"),
        (
            ask(task="panoptic", prompt={"thing": ["cat"]}),
            r"prompt has the unknown key 'thing' \(did you mean 'things'\?\); expected only things, stuff",
        ),
        (ask(task="instances", prompt={"stuff": ["sky"]}), "instances are asked of things"),
        (ask(task="regions", prompt="cat"), "prompt is 'cat'; expected an object or a list .*box"),
        (ask(task="regions", prompt=[]), r"prompt is \[\]; expected a list that is not empty; a region is"),
        (ask(task="regions", prompt={"box": [1, 2, 3]}), r"prompt\.box has 3 values; expected 4"),
        (ask(task="regions", prompt={"point": ["1", 2]}), r"prompt\.point\[0\] is '1'; expected a finite number"),
        (
            {**ask(), "promt": "x"},
            r"unknown key 'promt' \(did you mean 'prompt'\?\); expected only image, task, prompt",
        ),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: Any, message: str) -> None:
    path = write_lines(tmp_path / "asks.jsonl", ask(), "", line)
    with pytest.raises(InputError, match=message) as caught:
        open_calibration(str(path), 4, 1)
    assert str(caught.value).startswith(f"{path}, line 3") and "\n" not in str(caught.value)


def test_a_region_outside_of_its_image_names_its_line(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    path = write_lines(tmp_path / "asks.jsonl", ask(), ask(task="regions", prompt={"point": [99, 3]}))
    (picture,) = open_calibration(str(path), 1, 0).calibration
    region = picture.asks[1]
    assert isinstance(region, Regions)
    with pytest.raises(InputError, match=r"asks\.jsonl, line 2: the point \(99, 3\) lies outside"):
        region.prompts[0]()


# What cannot be opened


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shape", r"'shape' is no known calibration data; known are shapes, and the path of a folder .* JSONL"),
        ("shapes:no", "shapes has no split 'no'"),
        ("empty", "holds neither a data set that is known nor an image"),
        ("image.png", "cannot be read as JSONL|not JSON"),
        ("blank.jsonl", "holds no line"),
    ],
)
def test_what_cannot_be_opened(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "blank.jsonl").write_text("\n\n")
    write_image(tmp_path / "image.png")
    with pytest.raises(InputError, match=message) as caught:
        open_calibration(name, 4, 1)
    assert "\n" not in str(caught.value)


def test_a_damaged_annotation_is_not_taken_for_plain_images(tmp_path: Path) -> None:
    write_instances(tmp_path).write_text("{")
    with pytest.raises(InputError, match="cannot be read as JSON"):
        open_calibration(str(tmp_path), 4, 1)


@pytest.mark.parametrize(("samples", "held_out"), [(0, 1), (1, -1)])
def test_numbers_that_make_no_sense(samples: int, held_out: int) -> None:
    with pytest.raises(InputError, match="expected at least 1 and at least 0"):
        open_calibration("shapes", samples, held_out)


def test_a_registered_data_set_without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(open_data.NAMED, "drawn", lambda _: Data({}))
    with pytest.raises(InputError, match="no picture to calibrate on"):
        open_calibration("drawn", 4, 1)
