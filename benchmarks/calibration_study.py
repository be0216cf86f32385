"""``python -m xsam_edge.benchmarks.calibration_study FOLDER``: what masks owe to the pictures that ranges come from.

The demo model is quantised with ranges of few and of many pictures, by each method, with and without smoothing, for
several choices of pictures, and its masks are compared with those of FP32 on other scenes. One pass of statistics is
made for each number and choice of pictures. What is measured is kept as a line of ``study.jsonl``, and a study that was
interrupted goes on where it was, if it is of the same model (``study.json``); ``study.svg`` draws it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from xsam_edge.calibration.data.samples import Task
from xsam_edge.calibration.evaluation.agreement import Agreement, Recorder
from xsam_edge.calibration.evaluation.run import evaluate
from xsam_edge.calibration.open_data import open_data
from xsam_edge.calibration.page.lines import Panel, panels
from xsam_edge.calibration.shapes.dataset import SPLITS
from xsam_edge.export.bundle import BundleRequest, fill_bundle
from xsam_edge.export.precision.plan import Precision
from xsam_edge.export.precision.presets import PRECISIONS
from xsam_edge.export.prepare import from_checkpoint
from xsam_edge.export.quantize import quantize_bundle
from xsam_edge.export.quantize_plan import QuantizeOptions
from xsam_edge.export.staging import staged
from xsam_edge.runtime import XSam
from xsam_edge.runtime.cli.common import Parser, command, file_path, positive
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.errors import InputError
from xsam_edge.runtime.progress import Progress, Step, silent

PROGRAM = "python -m xsam_edge.benchmarks.calibration_study"
METHODS = ("minmax", "percentile-99.999", "entropy", "mse")
TASKS: tuple[Task, ...] = ("refer", "panoptic")
_GRAPHS = "graphs"
_APART = 1000  # seeds between the first pictures of two choices


@dataclass(frozen=True)
class Trial:
    """Ranges of the first ``pictures`` of one ``choice`` of drawn scenes, found by ``method``."""

    pictures: int
    choice: int
    method: str
    smoothing: bool

    @property
    def data(self) -> str:
        """Its pictures, and one to spare for a gate that judges nothing here."""
        first = SPLITS["calibration"].start + self.choice * _APART
        return f"shapes:{first}-{first + self.pictures}"


def trials(sizes: Sequence[int], choices: int, methods: Sequence[str] = METHODS) -> Iterator[Trial]:
    """Every trial; those of one pass of statistics follow one another."""
    for pictures in sizes:
        for choice in range(choices):
            for method in methods:
                yield from (Trial(pictures, choice, method, smoothing) for smoothing in (True, False))


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = Parser(PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=file_path, metavar="FOLDER", help="for what is measured; may hold a part of it")
    options.add_argument(
        "--precision", choices=[name for name in PRECISIONS if name in ("int8", "fp8")], default="int8"
    )
    options.add_argument(
        "--sizes", type=_sizes, default=(16, 32, 64, 128, 256, 512), metavar="N,N", help="numbers of pictures"
    )
    options.add_argument("--choices", type=positive, default=3, metavar="N", help="of pictures (default: %(default)s)")
    options.add_argument("--scenes", type=positive, default=100, metavar="N", help="to compare (default: %(default)s)")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    return command(PROGRAM, parser(), run, arguments)


def run(options: argparse.Namespace) -> int:
    """Measure what is missing, and draw; returns the exit code."""
    folder: Path = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    request = from_checkpoint("shapes", progress=silent)
    _check_same(folder / "study.json", request, options)
    lines = folder / "study.jsonl"
    known = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()] if lines.exists() else []
    done = {_key(line) for line in known}
    wanted = [trial for trial in trials(options.sizes, options.choices) if _key(asdict(trial)) not in done]
    with ProgressPrinter(sys.stderr) as progress:
        if wanted:
            reference = _reference(request, folder, options.scenes, progress)
        for number, trial in enumerate(wanted):
            progress(Step("calibration study", number, len(wanted), "trials"))
            found: dict[str, Any] = asdict(trial)
            found |= _measure(request, trial, options, folder, reference)
            known.append(found)
            with lines.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")
    (folder / "study.svg").write_text(draw(known), encoding="utf-8")
    print(table(known))
    return 0


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({positive(item) for item in text.split(",")}))


def _key(line: dict[str, Any]) -> tuple[Any, ...]:
    return line["pictures"], line["choice"], line["method"], line["smoothing"]


def _check_same(path: Path, request: BundleRequest, options: argparse.Namespace) -> None:
    """Write what a study is of. Raises InputError where the folder's is of something else."""
    own = {"model": request.source.sha256, "precision": options.precision, "scenes": options.scenes}
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else own
    if found != own:
        raise InputError(f"{path} is of {found}, and now {own} is asked for; choose another folder")
    path.write_text(json.dumps(own) + "\n", encoding="utf-8")


def _reference(request: BundleRequest, folder: Path, scenes: int, progress: Progress) -> Recorder:
    """What FP32 answers. Its graphs are left in the folder, as what every trial begins with."""
    for name, finished in (("fp32", True), (_GRAPHS, False)):
        if not (folder / name).exists():
            with staged(folder / name, False, progress) as made:
                fill_bundle(request, made, progress, finished=finished)
    recorder = Recorder()
    evaluate(XSam.load(folder / "fp32"), open_data("shapes:val"), TASKS, limit=scenes, watch=recorder.watch)
    return recorder


def _measure(
    request: BundleRequest, trial: Trial, options: argparse.Namespace, folder: Path, reference: Recorder
) -> dict[str, float]:
    """Mean IoU with FP32's masks, by task."""
    precision: Precision = options.precision
    chosen = QuantizeOptions(
        precision,
        float_type="fp32",
        data=trial.data,
        samples=trial.pictures,
        held_out=1,
        ranges=trial.method,
        smoothing=trial.smoothing,
        min_iou=0.0,
        checked=0,
        cache=folder / "statistics",
    )
    bundle = folder / "trial"
    quantize_bundle(request, bundle, chosen, overwrite=True, graphs=folder / _GRAPHS, progress=silent)
    agreement = Agreement(reference)
    evaluate(XSam.load(bundle), open_data("shapes:val"), TASKS, limit=options.scenes, watch=agreement.watch)
    shutil.rmtree(bundle)
    return {task: agreement.result()[task]["mean_iou"] for task in TASKS}


def draw(lines: Sequence[dict[str, Any]]) -> str:
    """The figure: mean IoU over the number of pictures, which doubles from step to step, mean of all choices."""
    sizes = sorted({line["pictures"] for line in lines})
    place = {size: float(index) for index, size in enumerate(sizes)}
    least = min(line[task] for line in lines for task in TASKS)
    drawn = []
    for task in TASKS:
        curves = {
            name: [(place[size], value) for size, value in sorted(values.items())]
            for name, values in _means(lines, task).items()
        }
        names = {place[size]: str(size) for size in sizes}
        ends = (0, max(1, len(sizes) - 1)), (least, 1)
        drawn.append(Panel(f"{task}: mask IoU with FP32", curves, *ends, "pictures", x_names=names))
    return panels(drawn, "mask IoU over the number of calibration pictures", alone=True) + "\n"


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row for each method, mean IoU (refer / panoptic) for each number of pictures, mean of all choices."""
    sizes = sorted({line["pictures"] for line in lines})
    rows = ["| ranges | " + " | ".join(map(str, sizes)) + " |", "|---" * (len(sizes) + 1) + "|"]
    refer, panoptic = (_means(lines, task) for task in TASKS)
    for name in refer:
        cells = (
            f"{refer[name][size]:.4f} / {panoptic[name][size]:.4f}" if size in refer[name] else "" for size in sizes
        )
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def _means(lines: Sequence[dict[str, Any]], task: str) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        name = line["method"] + ("" if line["smoothing"] else ", plain")
        found[name][line["pictures"]].append(line[task])
    return {name: {size: fmean(values) for size, values in by_size.items()} for name, by_size in found.items()}


if __name__ == "__main__":
    sys.exit(main())
