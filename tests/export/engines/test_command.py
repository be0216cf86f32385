from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from xsam_edge.export.cli import main, parser
from xsam_edge.export.engines.command import run
from xsam_edge.export.engines.precision_choice import PrecisionChoice
from xsam_edge.export.precision.plan import Plan, Rule
from xsam_edge.runtime.errors import InputError

RANDOM = ["--random-weights", "--variant", "phi3"]


def test_a_plan_of_a_variant_needs_no_weights(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RANDOM, "--precision", "fp16", "--target", "rtx-40", "--plan", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["variant"], plan["precision"], plan["target"], plan["context"]) == ("phi3", "fp16", "rtx-40", 4096)
    assert plan["fits"] and plan["would_fit"] == []
    assert plan["device_bytes"] == sum(row["bytes"] for row in plan["rows"] if row["place"] != "host")


def test_a_plan_takes_the_targets_precision_and_context(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RANDOM, "--target", "orin-nano", "--plan"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(
        "phi3, int4\nchosen: int4, since int8 does not fit orin-nano\nmemory plan for a context of 2048 tokens\n"
    )
    assert text.endswith("fits\n")


def test_a_plan_only_computes(phi3_fp16_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """TensorRT builds on the GPU that it builds for, which a plan has no need of."""
    for source in ([*RANDOM, "--precision", "int4"], ["--from", str(phi3_fp16_bundle)]):
        assert main([*source, "--engine", "tensorrt", "--target", "orin-nx", "--plan", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["target"] == "orin-nx"


def test_a_plan_that_does_not_fit_is_printed_and_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RANDOM, "--precision", "fp32", "--target", "orin-nx", "--plan", "--json"]) == 2
    out, err = capsys.readouterr()
    plan = json.loads(out)
    assert not plan["fits"]
    assert all(option in err for option in plan["would_fit"])
    assert any("--precision" in option for option in plan["would_fit"])


def test_a_plan_of_a_bundle_and_of_a_checkpoint(
    phi3_fp16_bundle: Path, phi3_reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--from", str(phi3_fp16_bundle), "--target", "rtx-30", "--plan", "--json"]) == 0
    exact = json.loads(capsys.readouterr().out)
    arguments = ["--checkpoint", str(phi3_reference), "--precision", "fp16", "--target", "rtx-30", "--plan", "--json"]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert (exact["variant"], exact["precision"], exact["context"]) == (
        told["variant"],
        told["precision"],
        told["context"],
    )
    sizes = [{row["what"]: row["bytes"] for row in plan["rows"]} for plan in (exact, told)]
    assert sizes[0]["key-value cache"] == sizes[1]["key-value cache"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--target", "xavier", "--plan"], "expected one of orin-nano, orin-nx"),
        (["--target", "thor", "--engine", "tensorrt-rtx", "--plan"], "desktop GPUs"),
        (["--target", "orin-nx", "--precision", "fp8", "--plan"], "orin-nx has 8.7; take --precision int8"),
        (["--target", "rtx-30", "--engine", "tensorrt-rtx", "--precision", "fp8", "-o", "x"], "rtx-30 has 8.6"),
        (
            [
                "--target",
                "rtx-30",
                "--precision",
                "int4",
                "--encoder-precision",
                "fp8",
                "--engine",
                "tensorrt-rtx",
                "-o",
                "x",
            ],
            "rtx-30 has 8.6",
        ),
        (["--context", "1000", "--plan"], "up to the model's 4096"),
        (["--context", "9000", "--plan"], "up to the model's 4096"),
        (["--memory", "0", "--plan"], "not a size in GiB"),
        (["--optimization-level", "6", "--plan"], "not a level from 0 to 5"),
        (["--engine", "openvino", "-o", "x"], "invalid choice"),
        (["--engine", "tensorrt-rtx", "--target", "rtx-40"], "give the folder to write with -o"),
    ],
)
def test_wrong_options_say_what_is_right(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RANDOM, *options]) == 2
    assert message in capsys.readouterr().err


def test_a_bundle_has_decided_what_an_export_would(
    phi3_fp16_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = ["--from", str(phi3_fp16_bundle), "-o", str(tmp_path / "engines")]
    assert main([*bundle, "--engine", "tensorrt-rtx", "--precision", "fp16"]) == 2
    assert "--precision is of an export" in capsys.readouterr().err
    given = (["--for", "gpu"], ["--seed", "3"], ["--variant", "phi3"], ["--min-iou", "0.5"], ["--no-smoothing"])
    for option in (*given, ["--calibration-data", "nope"], ["--float-precision", "fp32"], ["--allow-degraded"]):
        assert main([*bundle, "--engine", "tensorrt-rtx", *option]) == 2
        assert f"{option[0]} is of an export; with --from the bundle has decided it" in capsys.readouterr().err
    assert main(bundle) == 2
    assert "add --engine, one of tensorrt, tensorrt-rtx" in capsys.readouterr().err
    assert main(["--from", str(phi3_fp16_bundle), "-o", str(phi3_fp16_bundle), "--engine", "tensorrt-rtx"]) == 2
    assert "choose another output" in capsys.readouterr().err
    assert not (tmp_path / "engines").exists()


def test_a_plan_of_ones_own_is_not_a_choice_of_ours(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    plan = Plan("fp16", rules=(Rule("/llm/**", "int8"),))
    (tmp_path / "plan.json").write_text(plan.to_json())
    given = [*RANDOM, "--precision-plan", str(tmp_path / "plan.json"), "--engine", "tensorrt-rtx", "--target", "rtx-40"]
    asked: list[PrecisionChoice] = []

    def export(_folder: Path, choice: PrecisionChoice, _progress: object) -> None:
        asked.append(choice)
        raise InputError("enough")

    with pytest.raises(InputError, match="enough"):
        run(parser().parse_args([*given, "-o", str(tmp_path / "engines")]), {}, export)
    assert asked == [PrecisionChoice("int8")]


def test_bad_input_is_one_line(
    phi3_bundle: Path,
    phi3_fp8_bundle: Path,
    phi3_gpu_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engines = ["--engine", "tensorrt-rtx", "--target", "rtx-40", "-o", str(tmp_path / "engines")]
    long = ["--random-weights", "--variant", "qwen3-4b", "--precision", "fp16", "--target", "h100"]

    def refused(*options: str) -> str:
        assert main([*options]) == 2
        out, err = capsys.readouterr()
        assert out == "" and not (tmp_path / "engines").exists()
        (line,) = [line for line in err.splitlines() if line.startswith("xsam-export: ")]
        assert "Traceback" not in err
        return line

    assert "`xsam-export --checkpoint" in refused("--from", str(phi3_bundle), *engines)
    assert "--context 30464 would fit" in refused(*long, "--context", "100000", "--plan")
    assert "up to the model's" in refused("--from", str(phi3_gpu_bundle), *engines, "--context", "100000")
    assert "FP8 needs" in refused("--from", str(phi3_fp8_bundle), *engines[:3], "rtx-30", *engines[4:])
    assert "--for gpu" not in refused(*RANDOM, *engines, "--for", "cpu")
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    assert "tensorrt-rtx is not installed; " in refused("--from", str(phi3_gpu_bundle), *engines)


@pytest.mark.parametrize(("target", "context"), [("thor", 8192), ("h100", 8192), ("rtx-50", 4096)])
def test_targets_have_contexts_that_can_be_built(target: str, context: int, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--random-weights", "--variant", "qwen3-4b", "--precision", "int4", "--target", target, "--plan", "--json"]
    assert main(given) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["context"], plan["fits"]) == (context, True)
