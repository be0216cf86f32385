"""Every option of every command either always does something, or is refused where it would do nothing."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from xsam_edge.benchmarks import cli as bench
from xsam_edge.calibration.cli import evaluate, verify
from xsam_edge.export import cli as export
from xsam_edge.runtime.cli import doctor, label, segment
from xsam_edge.runtime.serve import cli as serve

Main = Callable[[list[str]], int]
COMMANDS: Mapping[str, tuple[Callable[[], argparse.ArgumentParser], Main]] = {
    "xsam-bench": (bench.parser, bench.main),
    "xsam-doctor": (doctor.parser, doctor.main),
    "xsam-eval": (evaluate.parser, evaluate.main),
    "xsam-export": (export.parser, export.main),
    "xsam-label": (label.parser, label.main),
    "xsam-segment": (segment.parser, segment.main),
    "xsam-serve": (serve.parser, serve.main),
    "xsam-verify": (verify.parser, verify.main),
}
# Options that do something in whatever company the command takes them.
USED = {
    "xsam-bench": "against prompts image repeat warmup together answer json markdown html device context verify",
    "xsam-doctor": "json verbose quiet",
    "xsam-eval": "data split task limit against json answer threshold write-threshold device context verify",
    "xsam-export": "checkpoint random-weights from json plan",
    "xsam-label": "things stuff refer-file prompts everything map threshold strict output format json ray device "
    "context verify verbose quiet",
    "xsam-segment": "source refer reason things stuff everything box point mask describe chat json device context "
    "verify verbose quiet",
    "xsam-serve": "host port token-file allow-host cors-origin allow-url-prefix name max-mb max-megapixels "
    "max-requests timeout max-scenes scene-seconds scene-mb shutdown-seconds device context verify verbose quiet",
    "xsam-verify": "reference device json",
}
CHECKPOINT, RANDOM = "--checkpoint nowhere -o out", "--random-weights --variant phi3"
PLAN = f"{RANDOM} --target rtx-40 --plan"
FP32, FP16 = f"{CHECKPOINT} --precision fp32", f"{CHECKPOINT} --precision fp16"
REFER = "nowhere x.png --refer a"
# Of the others by its name a command line in which it would do nothing.
REFUSED: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "xsam-bench": {
        "graphs": ("BUNDLE --graphs BUNDLE",),
        "stages": ("nowhere --stages --json", "nowhere --stages --markdown"),
        "threads": ("BUNDLE --device cuda --threads 1",),
    },
    "xsam-doctor": {"verify": ("--verify none", "--verify changed --json")},
    "xsam-eval": {"threads": ("BUNDLE --data shapes:40-40 --device cuda --threads 1",)},
    "xsam-export": {
        "inits": (f"{PLAN} --inits .", "--from nowhere --plan --inits ."),
        "variant": ("--from nowhere --plan --variant phi3",),
        "config": ("--from nowhere --plan --config x",),
        "seed": (f"{PLAN} --seed 1", f"{CHECKPOINT} --seed 1"),
        "output": (f"{PLAN} --output out",),
        "overwrite": (f"{PLAN} --overwrite",),
        "for": (f"{PLAN} --for gpu", "--from nowhere --engine tensorrt -o out --for gpu"),
        "precision": ("--from nowhere --plan --precision fp16",),
        "encoder-precision": (f"{PLAN} --encoder-precision int8",),
        "float-precision": (f"{PLAN} --float-precision fp32",),
        "kv-cache-precision": (
            f"{FP32} --kv-cache-precision int8",
            f"{PLAN} --precision fp32 --kv-cache-precision int8",
            f"{CHECKPOINT} --kv-cache-precision int8",
            "--from nowhere --plan --kv-cache-precision int8",
        ),
        "precision-plan": (f"{PLAN} --precision-plan x",),
        "ranges": (f"{PLAN} --ranges mse", f"{FP32} --ranges mse", f"{FP16} --ranges mse"),
        "no-smoothing": (f"{PLAN} --no-smoothing", f"{FP32} --no-smoothing", f"{FP16} --no-smoothing"),
        "calibration-data": (f"{PLAN} --calibration-data x", f"{FP32} --calibration-data x"),
        "calibration-samples": (f"{PLAN} --calibration-samples 3", f"{FP32} --calibration-samples 3"),
        "calibration-cache": (f"{PLAN} --calibration-cache x", f"{FP32} --calibration-cache x"),
        "calibration-device": (f"{PLAN} --calibration-device cuda", f"{FP32} --calibration-device cuda"),
        "check-samples": (f"{PLAN} --check-samples 1", f"{FP32} --check-samples 1"),
        "gate-samples": (f"{PLAN} --gate-samples 3", f"{FP16} --min-iou 0 --gate-samples 3"),
        "gate-minutes": (f"{PLAN} --gate-minutes 3", f"{FP16} --min-iou 0 --gate-minutes 3"),
        "min-iou": (f"{PLAN} --min-iou 0.5", f"{FP32} --min-iou 0.5"),
        "allow-degraded": (f"{PLAN} --allow-degraded", f"{FP16} --min-iou 0 --allow-degraded"),
        "target": (f"{CHECKPOINT} --target rtx-40",),
        "context": (f"{CHECKPOINT} --context 2048",),
        "memory": (f"{CHECKPOINT} --memory 8",),
        "optimization-level": (f"{PLAN} --optimization-level 1", f"{CHECKPOINT} --optimization-level 1"),
        "engine": ("--from nowhere --triton out --engine tensorrt",),
        "triton": (f"{CHECKPOINT} --triton out",),
        "device": (f"{CHECKPOINT} --device cuda",),
        "threads": (f"{CHECKPOINT} --threads 2", "--from BUNDLE --triton OUT --device cuda --threads 2"),
        "instances": (f"{CHECKPOINT} --instances 2",),
        "scenes": (f"{CHECKPOINT} --scenes 2",),
        "copy-bundle": (f"{CHECKPOINT} --copy-bundle",),
        "no-parity": (f"{PLAN} --no-parity", f"{CHECKPOINT} --no-parity"),
    },
    "xsam-label": {
        "instances": ("nowhere x.png --refer-file x --instances",),
        "several": ("nowhere x.png --things a --several", "nowhere x.png --everything --several"),
        "polygons": ("nowhere x.png --things a --format yolo --polygons",),
        "workers": ("nowhere x.png --things a --workers 2",),
        "threads": ("BUNDLE x.png --things a -o OUT --device cuda --threads 1",),
    },
    "xsam-segment": {
        "rate": (f"{REFER} --rate 5",),
        "deadline": (f"{REFER} --deadline 5",),
        "every-frame": (f"{REFER} --every-frame", "nowhere --source FOLDER --refer a --every-frame"),
        "max-frames": (f"{REFER} --max-frames 5",),
        "overlap": (f"{REFER} --overlap",),
        "strict": (f"{REFER} --strict",),
        "reconnect": (f"{REFER} --reconnect 5",),
        "timeout": (f"{REFER} --timeout 5",),
        "save-video": (f"{REFER} --save-video out.mp4",),
        "track": (f"{REFER} --track", "nowhere --source FOLDER --chat a --track"),
        "panoptic": (f"{REFER} --panoptic",),
        "instances": (f"{REFER} --instances",),
        "semantic": (f"{REFER} --semantic", "nowhere x.png --semantic --everything"),
        "similar": (f"{REFER} --similar",),
        "several": ("nowhere x.png --describe --several",),
        "threshold": ("nowhere x.png --chat a --threshold 0.5",),
        "append-answer": ("nowhere x.png --describe --append-answer",),
        "max-new-tokens": (f"{REFER} --max-new-tokens 5",),
        "output": ("nowhere x.png --chat a --output out",),
        "overwrite": ("nowhere x.png --chat a --overwrite", "nowhere --source FOLDER --refer a --overwrite"),
        "threads": ("BUNDLE x.png --refer a -o OUT --device cuda --threads 1",),
    },
    "xsam-serve": {
        "threads": ("BUNDLE --port 0 --device cuda --threads 1",),
    },
    "xsam-verify": {
        "all": ("nowhere --reference x --all --json",),
        "threads": ("BUNDLE --reference REFERENCE --device cuda --threads 1",),
    },
}
CASES = [
    (command, name, line) for command, refused in REFUSED.items() for name, lines in refused.items() for line in lines
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_known_here(command: str) -> None:
    """A new one either works in every mode, or has a mode in which it must be refused."""
    names = {
        flag.removeprefix("--")
        for action in COMMANDS[command][0]()._actions
        for flag in action.option_strings
        if flag.startswith("--")
    }
    assert names - {"help", "version"} == {*USED[command].split(), *REFUSED[command]}
    assert not set(USED[command].split()) & set(REFUSED[command])


@pytest.mark.parametrize(("command", "name", "line"), CASES, ids=[f"{c} {line}" for c, _, line in CASES])
def test_what_would_do_nothing_is_refused(
    command: str,
    name: str,
    line: str,
    phi3_bundle: Path,
    phi3_reference: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"BUNDLE": phi3_bundle, "REFERENCE": phi3_reference, "FOLDER": phi3_reference, "OUT": tmp_path / "out"}
    arguments = [str(places.get(word, word)) for word in line.split()]
    assert COMMANDS[command][1](arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith(f"{command}: error: --{name} "), error
