"""``xsam-export`` as a user meets it: exit codes, one line per error, nothing left behind."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from xsam_edge.export.cli import main
from xsam_edge.runtime.bundle.manifest import read_manifest


class Failure:
    """Runs the command and expects exit code 2, one line on stderr and nothing else."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self.capsys, self.folder = capsys, folder

    def __call__(self, *arguments: str | Path, lines: int = 1, output: str = "out") -> str:
        before = sorted(self.folder.rglob("*"))
        assert main([*map(str, arguments), "-o", str(self.folder / output)]) == 2
        out, error = self.capsys.readouterr()
        assert out == ""
        assert error.count("\n") == lines
        assert error.splitlines()[-1].startswith("xsam-export: error: ")
        assert sorted(self.folder.rglob("*")) == before
        return error


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Failure:
    return Failure(capsys, tmp_path)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("was-run",)


def nonsense(folder: Path, phi3: Path) -> dict[str, str]:
    """File -> what is said of it."""
    weights = (phi3 / "state_dict.safetensors").read_bytes()
    (folder / "picture.bin").write_bytes((phi3 / "image.png").read_bytes())
    (folder / "empty.bin").touch()
    (folder / "cut.safetensors").write_bytes(weights[: len(weights) // 2])
    (folder / "pickle.bin").write_bytes(pickle.dumps({"a": Malicious()}))
    save_file({"encoder.weight": np.zeros((2, 2), np.float32)}, folder / "other.safetensors")
    return {
        "picture.bin": "is not a checkpoint",
        "empty.bin": "is empty",
        "cut.safetensors": "is truncated",
        "pickle.bin": "could run code: not loaded",
        "other.safetensors": "not an X-SAM checkpoint",
        "absent.bin": "does not exist",
    }


def test_nonsense_checkpoints(fails: Failure, tmp_path: Path, phi3_reference: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, message in nonsense(tmp_path, phi3_reference).items():
        assert message in fails("--checkpoint", tmp_path / name), name
    assert not (tmp_path / "was-run").exists()


def test_wrong_options(fails: Failure, phi3_reference: Path) -> None:
    assert "one of the arguments --checkpoint --random-weights --from is required" in fails(lines=2)
    assert "not allowed with argument" in fails("--checkpoint", phi3_reference, "--random-weights", lines=2)
    assert "--random-weights needs --variant, one of phi3-aaai26, phi3" in fails("--random-weights")
    assert "invalid choice: 'gpt'" in fails("--random-weights", "--variant", "gpt", lines=2)
    assert "invalid choice: 'int3'" in fails("--checkpoint", phi3_reference, "--precision", "int3", lines=2)
    assert "-1 is below 0" in fails("--random-weights", "--variant", "phi3", "--seed", "-1", lines=2)
    assert "the path is empty" in fails("--checkpoint", "", lines=2)
    assert "the path is empty" in fails("--checkpoint", phi3_reference, "--inits", "", lines=2)
    assert "nowhere is not a folder" in fails("--checkpoint", phi3_reference, "--inits", "nowhere")
    assert "that of qwen3-4b is qwen3" in fails("--checkpoint", phi3_reference, "--variant", "qwen3-4b")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--calibration-data", "nope/"], "--calibration-data is of fp16, int8, int4 and fp8"),
        (["--calibration-samples", "3"], "--calibration-samples is of fp16, int8, int4 and fp8"),
        (["--gate-samples", "3"], "--gate-samples is of fp16"),
        (["--check-samples", "0"], "--check-samples is of fp16"),
        (["--calibration-cache", "nope"], "--calibration-cache is of fp16"),
        (["--calibration-device", "cuda"], "--calibration-device is of fp16"),
        (["--min-iou", "0.5"], "--min-iou compares masks with those of FP32, and this is FP32"),
        (["--allow-degraded"], "--allow-degraded is of fp16"),
        (["--ranges", "mse"], "--ranges is of fp16"),
        (["--no-smoothing", "--precision", "fp16"], "--no-smoothing is of quantised activations"),
        (["--allow-degraded", "--precision", "fp16", "--min-iou", "0"], "--allow-degraded is of the gate"),
        (["--gate-samples", "3", "--precision", "int8", "--min-iou", "0"], "--gate-samples is of the gate"),
        (["--gate-minutes", "3", "--precision", "int8", "--min-iou", "0"], "--gate-minutes is of the gate"),
        (["--gate-minutes", "3"], "--gate-minutes is of fp16"),
        (["--seed", "7"], "--seed is of --random-weights"),
        (["--target", "orin-nx"], "--target is of --engine and --plan"),
        (["--memory", "8"], "--memory is of --engine and --plan"),
        (["--context", "2048"], "--context is of --engine and --plan"),
        (["--no-parity"], "--no-parity is of --engine and --plan"),
        (["--optimization-level", "3"], "--optimization-level is of --engine and --plan"),
    ],
)
def test_options_that_would_do_nothing(fails: Failure, phi3_reference: Path, options: list[str], message: str) -> None:
    assert message in fails("--checkpoint", phi3_reference, *options)


def test_a_context_of_nothing(fails: Failure) -> None:
    random = ("--random-weights", "--variant", "phi3", "--engine", "tensorrt-rtx")
    assert "'0' is not a whole number from 1 on" in fails(*random, "--context", "0", lines=2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "is []; expected an object; --config takes a JSON object"),
        ('{"nonsense": 1}', "unknown names: 'nonsense'; a name is that of a part and a size"),
        ('{"llm.rope_theta": "big"}', "llm.rope_theta is 'big'"),
        ('{"llm.num_heads": 7}', "64 cannot be split by 7"),
        ('{"llm": {"hidden_size": 2048}}', "llm.hidden_size is 64 in the weights, 2048 in --config"),
        ('{"mask_encoder.taps": [99, 1, 2]}', "mask_encoder.taps has 99"),
        ('{"extra_select_layers": [6, 12, 18, 24]}', "write mask_encoder.taps"),
    ],
)
def test_wrong_configurations(fails: Failure, tmp_path: Path, phi3_reference: Path, content: str, message: str) -> None:
    (tmp_path / "config.json").write_text(content)
    assert message in fails("--checkpoint", phi3_reference, "--config", tmp_path / "config.json")


def test_wrong_sizes(fails: Failure, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    for content, message in {
        '{"llm.num_layers": "two"}': "llm.num_layers is 'two'",
        '{"llm.head_dim": 15}': "expected a multiple of 2",
        '{"llm.vocab_size": 10}': "a vocabulary of 10",
        '{"mask_decoder.feature_size": 128}': "feature_size is 128",
        '{"vision_encoder.select_layer": -1}': "expected an earlier one",
    }.items():
        path.write_text(content)
        assert message in fails("--random-weights", "--variant", "phi3", "--config", path), content


def test_places_that_cannot_be_written(fails: Failure, tmp_path: Path, phi3_reference: Path) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("precious")
    source = ("--checkpoint", phi3_reference)
    assert "exists; choose another output" in fails(*source, output="file")
    assert "is not a bundle" in fails(*source, "--overwrite", output="file")
    assert "is not a bundle" in fails(*source, "--overwrite", output="folder")
    assert "is not a bundle" in fails(*source, "--overwrite", output=".")
    assert "file" in fails(*source, output="file/out")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(fails: Failure, tmp_path: Path, phi3_reference: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "Permission denied" in fails("--checkpoint", phi3_reference, output="locked/out")


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "xsam-export --checkpoint" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("xsam-export ")


# All four parts at the smallest sizes that work.
TINY = {
    "llm.hidden_size": 32,
    "llm.intermediate_size": 32,
    "llm.num_layers": 1,
    "llm.num_heads": 2,
    "llm.num_kv_heads": 1,
    "llm.head_dim": 8,
    "llm.vocab_size": 300,
    "vision_encoder.hidden_size": 16,
    "vision_encoder.intermediate_size": 16,
    "vision_encoder.num_heads": 2,
    "vision_encoder.num_layers": 2,
    "vision_encoder.image_size": 28,
    "mask_encoder.hidden_size": 16,
    "mask_encoder.mlp_dim": 16,
    "mask_encoder.num_heads": 2,
    "mask_encoder.num_layers": 2,
    "mask_encoder.image_size": 64,
    "mask_decoder.hidden_dim": 32,
    "mask_decoder.feature_size": 32,
    "mask_decoder.mask_feature_size": 8,
    "mask_decoder.encoder_layers": 1,
    "mask_decoder.decoder_layers": 1,
    "mask_decoder.num_queries": 5,
    "connector.hidden_channels": 8,
}


@pytest.mark.parametrize("variant", ["qwen3-4b", "smollm2-360m"])
def test_random_weights(capsys: pytest.CaptureFixture[str], tmp_path: Path, variant: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    output = tmp_path / "bundle"
    options = ["--random-weights", "--variant", variant, "--config", str(tmp_path / "config.json"), "--json"]
    assert main([*options, "--precision", "fp16", "-o", str(output)]) == 0
    out, error = capsys.readouterr()
    result = json.loads(out)
    assert error == ""
    assert out.count("\n") == 1
    manifest = read_manifest(output)
    assert (result["variant"], result["precision"]) == (manifest.variant, manifest.precision) == (variant, "fp16")
    assert result["bytes"] == {
        path.name: path.stat().st_size for path in output.iterdir() if "manifest" not in path.name
    }
    assert result["seconds"] > 0 and 10**7 < result["peak_memory_bytes"] <= result["peak_resident_bytes"]
    assert manifest.source.sha256 == ""


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_nothing(tmp_path: Path, phi3_reference: Path, sent: signal.Signals) -> None:
    program = "import sys; from xsam_edge.export.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "--checkpoint", phi3_reference, "-o", tmp_path / "out"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.iterdir()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(sent)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--gate-minutes", "nonsense"], "nonsense is not a number of minutes above 0"),
        (["--gate-minutes", "0"], "0 is not a number of minutes above 0"),
        (["--gate-minutes", "inf"], "inf is not a number of minutes above 0"),
        (["--min-iou", "nonsense"], "nonsense is not a share from 0 to 1"),
        (["--min-iou", "nan"], "nan is not a share from 0 to 1"),
        (["--calibration-device", "nonsense"], "invalid choice: 'nonsense'"),
    ],
)
def test_numbers_out_of_range(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--checkpoint", "shapes", "--precision", "int8", *options, "-o", str(tmp_path / "out")]
    assert main(given) == 2
    assert message in capsys.readouterr().err
