import numpy as np
import pytest
from PIL import Image

from tests.scripted import SIZE, Data, Model, answer, block, id_map, lazy, one
from xsam_edge.calibration import coco_api
from xsam_edge.calibration.data.samples import Caption, Categories, Phrase, Regions, TrueSegment
from xsam_edge.calibration.evaluation.run import AskOptions, ask_scene, evaluate
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.progress import Step
from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.results.segment import Segment

MASK = block(0, 0, 4, 4)
PHRASE = Phrase("refer", "a cat", lazy(MASK))


def categories(task: str, names: tuple[str, ...] = ("cat", "sky")) -> Categories:
    return Categories(task, names, 1, (TrueSegment(lazy(MASK), 0), TrueSegment(lazy(~MASK), 1)))


EVERYTHING = [
    PHRASE,
    Phrase("reason", "What purrs?", lazy(MASK)),
    categories("panoptic"),
    categories("semantic"),
    categories("instances"),
    Regions((lazy(MASK),), (TrueSegment(lazy(MASK), 0),), False, "mask"),
    Regions((lazy(MASK), lazy(~MASK)), (TrueSegment(lazy(MASK), 0), TrueSegment(lazy(~MASK), 1)), True),
    Caption("a cat", ("a cat",), (lazy(MASK),)),
]


def perfect(method: str, arguments: tuple) -> Result:
    segments = Segment.from_mask(MASK, 0.9, "a cat", 0), Segment.from_mask(~MASK, 0.9, "sky", 1, False)
    if method == "categories" and len(arguments) == 2:
        panoptic = id_map(*segments)
        return Result("genseg", panoptic.segments, SIZE, id_map=panoptic.id_map)
    if method == "regions":
        return answer(*segments)
    return answer(segments[0])


OFFICIAL = [
    ("refer", {"answer": "append", "several": False, "threshold": "official"}),
    ("reason", {"answer": "append", "several": False, "threshold": "official"}),
    ("categories", {"instances": False, "semantic": False, "threshold": 0.0, "answer": "append"}),
    ("categories", {"semantic": True, "threshold": "official", "answer": "append"}),
    ("categories", {"instances": True, "threshold": 0.0, "answer": "append"}),
    ("regions", {"similar": False, "threshold": "official", "answer": "append"}),
    ("regions", {"similar": True, "threshold": 0.0, "answer": "append"}),
    ("describe", {"threshold": "official"}),
]


def asked(options: AskOptions) -> list[tuple[str, dict]]:
    """How everything is asked, without the masks of regions."""
    model = Model(perfect)
    with model.look(Image.new("RGB", (4, 4))) as scene:
        for ask in EVERYTHING:
            ask_scene(scene, ask, options)  # type: ignore[arg-type]
    return [
        (method, {name: value for name, value in options.items() if name != "masks"})
        for method, _, options in model.calls
    ]


def test_the_official_rule_is_the_default() -> None:
    assert asked(AskOptions("append")) == OFFICIAL
    kept = [(method, {**options, "threshold": 0.5}) if number == 2 else (method, options)
            for number, (method, options) in enumerate(OFFICIAL)]  # fmt: skip
    assert asked(AskOptions("append", threshold=0.5)) == kept, "of panoptic segments alone"


def test_a_threshold_is_of_every_task_but_of_average_precision() -> None:
    thresholds = [options["threshold"] for _, options in asked(AskOptions(threshold=0.3, rejection=0.3))]
    assert thresholds == [0.3, 0.3, 0.3, 0.3, 0.0, 0.3, 0.0, 0.3]


def test_a_bundles_thresholds_are_of_phrases_alone() -> None:
    thresholds = [options["threshold"] for _, options in asked(AskOptions(rejection={"reason": 0.7}))]
    assert thresholds == ["official", 0.7, 0.0, "official", 0.0, "official", 0.0, "official"]


def test_scores_are_kept_by_what_was_asked() -> None:
    short = Phrase("reason", "a dog", None, short=True)
    asks = [PHRASE, Phrase("refer", "a bird", None), Phrase("reason", "What barks?", None), short]
    found = evaluate(Model(lambda *_: one(MASK, 0.25)), Data({"one": asks}), options=AskOptions(rejection=0.5))
    assert [(name, list(item.present), list(item.absent)) for name, item in found.scores.items()] == [
        ("refer", [0.25], [0.25, 0.25]),
        ("reason", [], [0.25]),
    ]
    assert found.tasks["reason"]["absent"]["n"] == 2, "a short one is counted as what it is of"
    assert found.tasks["refer"]["absent"]["in_use"]["threshold"] == 0.5


def test_similar_regions_count_from_the_threshold_on() -> None:
    def pq(options: AskOptions) -> float:
        reply = answer(Segment.from_mask(MASK, 0.4, "1", 0), Segment.from_mask(~MASK, 0.9, "2", 1))
        return evaluate(Model(lambda *_: reply), Data({"one": [EVERYTHING[6]]}), options=options).tasks["regions"]["rq"]

    assert pq(AskOptions()) == pytest.approx(1 / 1.5), "officially from 0.5 on"
    assert pq(AskOptions(rejection=0.4)) == 1


def test_every_task_is_asked_as_the_benchmarks_do() -> None:
    model = Model(perfect)
    data = Data({"one": EVERYTHING})
    # The panoptic answer's map counts from 1, a semantic one from 0.
    semantic = Result("genseg", (), SIZE, id_map=np.where(MASK, 0, 1).astype(np.int32))
    reply = model.reply
    model.reply = lambda method, arguments: semantic if model.calls[-1][2].get("semantic") else reply(method, arguments)
    found = evaluate(model, data, options=AskOptions("append"))
    assert list(found.tasks) == ["refer", "reason", "panoptic", "semantic", "instances", "regions", "captions"]
    assert found.tasks["refer"]["ciou"] == found.tasks["reason"]["giou"] == 1
    assert found.tasks["panoptic"]["pq"] == found.tasks["semantic"]["miou"] == 1
    assert found.tasks["instances"]["ap"] == pytest.approx(1)
    assert found.tasks["regions"]["miou"] == found.tasks["regions"]["pq"] == 1
    assert found.tasks["captions"]["recall"] == 1
    calls = [(method, {**options}) for method, _, options in model.calls]
    pointed = [options.pop("masks") for method, options in calls if method == "regions"]
    assert np.array_equal(pointed[0], [MASK]) and np.array_equal(pointed[1], [MASK, ~MASK])
    assert calls == OFFICIAL
    assert model.calls[4][1] == (("cat",),), "instances are asked of things"
    assert model.closed == 1, "one look for all asks"


def test_a_short_reason_is_asked_as_a_phrase_and_counted_as_reason() -> None:
    model = Model(lambda *_: one(MASK))
    ask = Phrase("reason", "the animal", lazy(MASK), "phrase", short=True, several=True)
    assert list(evaluate(model, Data({"one": [ask]})).tasks) == ["reason"]
    assert model.calls == [("refer", ("the animal",), {"answer": "greedy", "several": True, "threshold": "official"})]


def test_tasks_limit_and_progress() -> None:
    data = Data({"a": [PHRASE], "b": [EVERYTHING[1]], "c": [PHRASE], "d": [PHRASE]})
    seen: list[Step] = []
    watched: list[tuple[str, int]] = []
    found = evaluate(
        Model(lambda *_: one(MASK)),
        data,
        ["refer"],
        limit=2,
        progress=seen.append,
        watch=lambda name, number, ask, result: watched.append((name, number)),
    )
    assert list(found.tasks) == ["refer"]
    assert found.pictures == found.tasks["refer"]["n"] == 2
    assert seen == [Step("evaluate", done, 2, "pictures") for done in range(2)]
    assert watched == [("a", 0), ("c", 0)]


def test_unreadable_images_are_counted() -> None:
    names = {f"{index}": [PHRASE] for index in range(20)}
    found = evaluate(Model(lambda *_: one(MASK)), Data(names, broken=("7",)))
    assert found.unreadable == ("7",)
    assert found.tasks["refer"]["n"] == 19


def test_too_many_unreadable_images_are_an_error() -> None:
    names = {f"{index}": [PHRASE] for index in range(39)}
    with pytest.raises(InputError, match=r"2 of 9 images of scripted cannot be read, such as 7; at most 5%"):
        evaluate(Model(lambda *_: one(MASK)), Data(names, broken=("7", "8")))


@pytest.mark.parametrize(
    ("tasks", "limit", "message"),
    [(["captions"], None, "asks nothing of captions; it has refer"), ([], 0, "no picture")],
)
def test_nothing_to_ask(tasks: list, limit: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(Model(lambda *_: one(MASK)), Data({"one": [PHRASE]}), tasks, limit=limit)


def test_categories_must_not_change() -> None:
    data = Data({"one": [categories("panoptic")], "two": [categories("panoptic", ("dog", "sky"))]})
    with pytest.raises(InputError, match="other categories"):
        evaluate(Model(perfect), data)


@pytest.mark.parametrize("ask", [EVERYTHING[4], EVERYTHING[5]])
def test_a_missing_package_is_found_before_any_work(ask: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(coco_api, "import_module", missing)
    model = Model(perfect)
    with pytest.raises(XSamError, match="pycocotools"):
        evaluate(model, Data({"one": [PHRASE, ask]}), [ask.task])
    with pytest.raises(XSamError, match="pycocotools"):
        evaluate(model, Data({"one": [ask]}))
    assert not model.calls
    assert evaluate(model, Data({"one": [PHRASE, ask]})).tasks.keys() == {"refer"}
    assert evaluate(model, Data({"one": [PHRASE, ask]}), ["refer"]).tasks["refer"]["n"] == 1
