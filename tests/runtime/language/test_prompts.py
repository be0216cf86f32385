import pytest

from tests.recorded import load_reference, meta
from xsam_edge.runtime.bundle.settings import PromptFormat
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.language import prompts

PHI3 = PromptFormat("<|user|>\n{input}<|end|>\n<|assistant|>\n", "<image>\n", "<|end|>", ("<|end|>",), bos="<s>")
RESERVED = ("<|end|>", "<|user|>", "</s>")


def question(prompt):
    """The question of a Phi-3 prompt: what is between the image token and the end of the turn."""
    head, tail = "<|user|>\n<image>\n", "<|end|>\n<|assistant|>\n"
    assert prompt.text.startswith(head)
    assert prompt.text.endswith(tail)
    return prompt.text[len(head) : -len(tail)]


def test_questions():
    assert question(prompts.refer("  The Ironing MAN ", PHI3)) == (
        "Can you segment <p>the ironing man</p> in this image? Please generate the segmentation mask."
    )
    assert question(prompts.reason(" What warms Clothes? ", PHI3)) == (
        "<p>What warms Clothes?</p> Please output the corresponding segmentation mask."
    )
    assert question(prompts.categories(["Car", "sky-other-merged", "wall-brick"], PHI3)) == (
        "Can you segment the image based on the following categories: <p>car</p>, <p>sky</p>, <p>wall brick</p>? "
        "Please output the segmentation masks."
    )
    assert "regions: <p><region></p>, <p><region></p>?" in question(prompts.regions(2, PHI3))
    assert "regions: <p><region></p>?" in question(prompts.interactive(PHI3))
    assert "interleaved segmentation masks" in question(prompts.describe(PHI3))
    assert question(prompts.chat(" What is {this}? ", PHI3)) == "What is {this}?"


def test_answers_labels_and_tasks():
    made = [
        (prompts.refer("A man", PHI3), "refseg", ("A man",)),
        (prompts.reason("Why?", PHI3), "reaseg", ("Why?",)),
        (prompts.categories(["Tree-merged", "car"], PHI3), "genseg", ("Tree-merged", "car")),
        (prompts.categories(["cat"], PHI3, task="ovseg"), "ovseg", ("cat",)),
        (prompts.regions(2, PHI3), "vgdseg", ("region 1", "region 2")),
        (prompts.interactive(PHI3), "intseg", ("region 1",)),
    ]
    for prompt, task, labels in made:
        assert (prompt.task, prompt.labels, prompt.answer) == (task, labels, "It is <SEG>.<|end|>")
        assert prompt.text.count("<p>") == prompt.text.count("</p>") == len(labels)
    for prompt, task in [(prompts.describe(PHI3), "gcgseg"), (prompts.chat("Hm?", PHI3), "chat")]:
        assert (prompt.task, prompt.labels, prompt.answer) == (task, (), None)


def test_frame_equals_the_recorded_prompts():
    recorded = meta(load_reference("golden-phi3", "aaai_img_chat"), "predict")["input_text"]
    assert prompts.chat("What is unusual about this image?", PHI3).text == recorded
    assert prompts.chat("What is unusual about this image?", PHI3, bos=True).text == "<s>" + recorded


@pytest.mark.parametrize("task", ["img_genseg", "aaai_img_ovseg"])
def test_categories_equal_the_recorded_ones(task):
    facts = meta(load_reference("golden-phi3", task), "tensor")
    tagged = ", ".join(f"<p>{prompts.category_text(name)}</p>" for name in facts["classes"])
    assert tagged in facts["input_text"]
    assert tagged in prompts.categories(facts["classes"], PHI3).text


def test_braces_are_plain_text():
    form = PromptFormat('{"a": 1} {input} {x}', "<image>", "", ())
    assert prompts.chat("{input} {0}", form).text == '{"a": 1} <image>{input} {0} {x}'


def test_three_hundred_categories():
    prompt = prompts.categories([f"class {index}" for index in range(300)], PHI3)
    assert prompt.text.count("<p>") == 300


@pytest.mark.parametrize(
    "text", ["", "  \n", "a <image>", "<SEG>", "x</p>y", "<region>", "a<|end|>b", "</s>", "\ud800", 3]
)
def test_unusable_text(text):
    for ask in (prompts.refer, prompts.reason, prompts.chat):
        with pytest.raises(InputError):
            ask(text, PHI3, RESERVED)
    with pytest.raises(InputError):
        prompts.categories(["car", text], PHI3, RESERVED)


@pytest.mark.parametrize(
    ("ask", "marker"),
    [
        (lambda: prompts.refer("a <P> b", PHI3), "<p>"),
        (lambda: prompts.categories(["<IMAGE>"], PHI3), "<image>"),
        (lambda: prompts.categories(["a <-otherp>"], PHI3), "<p>"),
    ],
)
def test_a_marker_made_by_normalising_is_refused(ask, marker):
    with pytest.raises(InputError, match=f"contains '{marker}'"):
        ask()


@pytest.mark.parametrize(
    "names", [[], ["car", "Car "], ["wall", "wall-other-merged"], ["-merged"], "car", ["car", None]]
)
def test_unusable_categories(names):
    with pytest.raises(InputError):
        prompts.categories(names, PHI3)


def test_no_region():
    with pytest.raises(InputError, match="at least one"):
        prompts.regions(0, PHI3)
