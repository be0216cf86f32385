import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.backends.tensorrt.fake_tensorrt import engine_bundle, fake_backend
from xsam_edge.benchmarks import chain, cli, markdown, measure, page, peaks
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, hash_file

PERCENTILES = {"p50_ms", "p90_ms", "p95_ms", "p99_ms", "n"}
QUICK = ("--repeat", "2", "--warmup", "1", "--threads", "1", "--answer", "scripted", "--together", "3")


@pytest.fixture(scope="module")
def report(phi3_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What --json prints of a bundle against itself, and the page of the same run under "html"."""
    file = tmp_path_factory.mktemp("page") / "page.html"
    printed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peaks, "_SIZES", (64,))
        patch.setattr(peaks, "_COPY_BYTES", 1 << 20)
        patch.setattr(measure, "SETTLE_SECONDS", 0)
        patch.setattr("builtins.print", lambda text, **_: printed.append(text))
        bundle = str(phi3_bundle)
        assert cli.main([bundle, "--against", bundle, "--json", "--html", str(file), *QUICK]) == 0
    return {**json.loads(printed[-1]), "html": file.read_text()}


def test_answers_are_distributions(report: dict[str, Any]) -> None:
    for side in (report, report["against"]):
        for times in (*side["answers"].values(), side["preprocess"], side["postprocess"]):
            assert set(times) >= PERCENTILES
            assert 0 < times["p50_ms"] <= times["p90_ms"] <= times["p95_ms"] <= times["p99_ms"] <= times["max_ms"]
        assert side["answers"]["first"]["n"] == side["answers"]["next"]["n"] == 2
        assert side["answers"]["first"]["p50_ms"] > side["preprocess"]["p50_ms"]
        over = side["overhead"]["first"]
        assert 0 < over["runtime_ms"] < over["outside_graphs_ms"] < side["answers"]["first"]["max_ms"]


def test_stages_have_work_and_a_share_of_the_peak(report: dict[str, Any]) -> None:
    stages = {stage["name"]: stage for stage in report["stages"]}
    assert {"image_encoder", "llm_prefill", "llm_suffix", "mask_decoder"} <= set(stages)
    peak = report["peaks"]["fp32"]
    for stage in stages.values():
        assert set(stage) >= PERCENTILES | {"flops", "bytes", "peak_fraction"}
        assert stage["flops"] > 0 and stage["bytes"] > stage["weight_bytes"] > 0 and not stage["uncounted"]
        limit = max(stage["flops"] / peak["flops_per_second"], stage["bytes"] / peak["bytes_per_second"])
        assert stage["peak_fraction"] == pytest.approx(1e3 * limit / stage["p50_ms"], rel=1e-3)
    assert stages["llm_prefill"]["axes"]["past"] == 0 < stages["llm_suffix"]["axes"]["past"]
    assert stages["llm_prefill"]["flops"] > stages["llm_suffix"]["flops"]


def test_a_scripted_answer_segments(report: dict[str, Any]) -> None:
    """Weights that say nothing sensible are made to give the known answer, so that every stage has its work."""
    assert report["segmented"] == 1
    assert 3 <= report["tokens_per_answer"] <= 40
    assert 1 <= report["llm_forwards_per_answer"] <= report["tokens_per_answer"]


def test_a_bundle_agrees_with_itself(report: dict[str, Any]) -> None:
    against = report["against"]
    assert against["same_tokens"] and against["min_mask_iou"] == 1
    assert set(against["ratio"]) == {"first", "next", "stages"}
    assert against["ratio"]["first"] == pytest.approx(
        against["answers"]["first"]["p50_ms"] / report["answers"]["first"]["p50_ms"]
    )
    assert set(against["ratio"]["stages"]) == {stage["name"] for stage in report["stages"]}


def test_prompts_at_once_are_compared_with_one_by_one(report: dict[str, Any]) -> None:
    together = report["together"]
    assert together["prompts"] == 3 and together["same_tokens"] and together["min_mask_iou"] == 1
    assert together["rate"] == pytest.approx(
        together["one_by_one"]["p50_ms"] / together["together"]["p50_ms"], rel=0.01
    )
    assert together["one_by_one"]["n"] == together["together"]["n"] == 2
    assert "3 prompts at once" in report["html"]


def test_everything_around_a_number_is_there(report: dict[str, Any], phi3_bundle: Path) -> None:
    assert report["bundle"]["sha256"] == hash_file(phi3_bundle / MANIFEST_FILE)
    memory = report["memory"]
    assert memory["host_peak_bytes"] >= memory["host_loaded_bytes"] > memory["imports_bytes"] > 0
    assert memory["kv_cache_bytes"] > 0 and memory["activation_bytes"] > 0 and memory["peak_over_needed"] > 0
    assert set(report["energy"]) & {"source", "reason"}
    assert report["settings"]["repeat"] == 2 and report["settings"]["warmup"] == 1
    assert report["environment"]["conditions"]["threads"] == report["setup"]["threads"] == 1
    assert report["environment"]["python"]["packages"] and report["included"]


def test_markdown_is_tables(report: dict[str, Any]) -> None:
    text = markdown.markdown(report)
    tables = re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert len(tables) == 3, "answers, and the stages of both sides"
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    short = markdown.markdown(report, stages=False, facts=False)
    assert "llm_prefill" in text and "llm_prefill" not in short and "What it ran on" not in short


def test_the_page_is_well_formed_and_stands_alone(report: dict[str, Any]) -> None:
    html = report["html"]
    root = ElementTree.fromstring(html.removeprefix("<!DOCTYPE html>\n"))
    charts = [svg for svg in root.iter("svg") if svg.get("role") == "img"]
    assert len(charts) == 4, "first, next, and the stages of both sides"
    assert len(list(root.iter("circle"))) == 2 * 2 * 2, "a dot per round, side and answer"
    assert all(chart.get("aria-label") for chart in charts)
    assert not re.search(r'(?:src|href)="', html)


def test_text_of_others_is_escaped(report: dict[str, Any]) -> None:
    named = {**report, "name": "<b>&", "bundle": {**report["bundle"], "path": "<b>&"}}
    ElementTree.fromstring(page.html(named).removeprefix("<!DOCTYPE html>\n"))
    assert "a\\|b" in markdown.markdown({**report, "name": "a|b"})


def test_engines_are_measured(
    phi3_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engines = engine_bundle(phi3_bundle, tmp_path / "engines")
    monkeypatch.setattr(chain, "choose_backend", lambda *_: fake_backend(engines))
    monkeypatch.setattr(measure, "SETTLE_SECONDS", 0)
    given = [str(engines), "--repeat", "1", "--warmup", "1", "--together", "2", "--context", "512"]
    assert cli.main([*given, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["setup"]["backend"] == "tensorrt" and report["settings"]["device"] == "cuda"
    assert {"image_encoder", "llm_prefill", "mask_decoder"} <= {stage["name"] for stage in report["stages"]}
    assert all(stage["p50_ms"] > 0 and stage["flops"] > 0 for stage in report["stages"]), "as the graphs say"
    assert report["unread"] is None
    assert report["peaks"]["fp32"]["reason"] and report["together"]["same_tokens"]
    assert "not measured" in markdown.markdown(report)
    ElementTree.fromstring(page.html(report).removeprefix("<!DOCTYPE html>\n"))
    for more, message in (
        (["--graphs", str(phi3_bundle)], "is not what"),
        (["--against", "torch"], "torch cannot read"),
    ):
        assert cli.main([*given, *more]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "is not a bundle"),
        (["BUNDLE", "--against", "nothing"], "is not a bundle"),
        (["BUNDLE", "--repeat", "0"], "at least 1 round"),
        (["BUNDLE", "--html", "/nowhere/page.html"], "is not a folder"),
        (["BUNDLE", "--against", "torch", "--against", "torch"], "twice"),
        (["BUNDLE", "--prompts", "<SEG>", *QUICK], "controls the model"),
        (["BUNDLE", "--image", "BUNDLE/manifest.json", *QUICK], "manifest.json"),
        (["BUNDLE", "--json", "--markdown"], "not allowed with"),
    ],
)
def test_wrong_input_is_one_line(
    phi3_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setattr(peaks, "_SIZES", (64,))
    monkeypatch.setattr(peaks, "_COPY_BYTES", 1 << 20)
    given = [text.replace("BUNDLE", str(phi3_bundle)) for text in arguments]
    assert cli.main(given) == 2
    printed = capsys.readouterr()
    assert message in printed.err and "Traceback" not in printed.err and not printed.out


def test_repeated_prompts_add_up() -> None:
    given = ["bundle", "--prompts", "a cup", "--prompts", "a man", "a car"]
    assert cli.parser().parse_args(given).prompts == ["a cup", "a man", "a car"]
