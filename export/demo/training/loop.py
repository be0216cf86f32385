"""The training loop: one process per core, gradients averaged, a line of the curve every few steps."""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from tokenizers import Tokenizer as BaseTokenizer
from torch.multiprocessing.spawn import spawn
from torch.optim import AdamW

from xsam_edge.export.config.inits import Part
from xsam_edge.export.config.save_inits import save_inits
from xsam_edge.export.config.variants import Variant
from xsam_edge.export.demo.training.exercises import ExerciseMaker, view
from xsam_edge.export.demo.training.forward import forward
from xsam_edge.export.demo.training.initialise import initialise
from xsam_edge.export.demo.training.losses import loss
from xsam_edge.export.demo.training.optimizer import linear_matrices, optimizers, schedule, set_rates, share
from xsam_edge.export.demo.training.packing import Batch, pack
from xsam_edge.export.demo.training.positions import PositionHeads
from xsam_edge.export.demo.training.recipe import Recipe
from xsam_edge.export.demo.training.save import save_weights
from xsam_edge.export.demo.training.tokenizer import train_tokenizer
from xsam_edge.export.demo.training.validate import Scores
from xsam_edge.export.models.xsam import XSam
from xsam_edge.export.settings import settings_for
from xsam_edge.runtime.cli.progress import ProgressPrinter
from xsam_edge.runtime.cores import usable_cores
from xsam_edge.runtime.language.tokenizer import Tokenizer
from xsam_edge.runtime.progress import Step

_CURVE_STEPS = 20  # between lines of the curve
_VALIDATION_SEED = 10_000
_FOLDERS: Mapping[Part, str] = {
    "llm": "language-model",
    "vision_encoder": "vision-encoder",
    "mask_encoder": "mask-encoder",
    "mask_decoder": "mask-decoder",
}


@dataclass(frozen=True)
class Job:
    """What is trained, how, and where to: ``folder`` gets ``model.safetensors``, ``inits`` and ``curve.jsonl``.

    Training begins with the weights of the file ``start``, or with random ones.
    """

    variant: Variant
    recipe: Recipe
    folder: Path
    device: str = "cpu"
    start: Path | None = None


def train(job: Job) -> None:
    """Train. Ctrl-C leaves the weights of the last report."""
    recipe = job.recipe
    tokenizer_json = train_tokenizer(job.variant.prompt)
    job = replace(job, variant=with_vocabulary(job.variant, tokenizer_json))
    save_inits(job.variant, tokenizer_json, job.folder / "inits", _FOLDERS)
    (job.folder / "curve.jsonl").write_text(json.dumps({"recipe": asdict(recipe)}) + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as meeting:
        address = f"file://{meeting}/store"
        if recipe.workers == 1:
            _work(0, job, tokenizer_json, address)
        else:
            spawn(_work, (job, tokenizer_json, address), nprocs=recipe.workers)


def with_vocabulary(variant: Variant, tokenizer_json: str) -> Variant:
    """A variant whose embedding table fits a tokenizer; as in released models, with a few rows to spare."""
    rows = math.ceil(BaseTokenizer.from_str(tokenizer_json).get_vocab_size() / 16) * 16
    return replace(variant, config=replace(variant.config, llm=replace(variant.config.llm, vocab_size=rows)))


def _work(rank: int, job: Job, tokenizer_json: str, address: str) -> None:
    recipe = job.recipe
    torch.set_flush_denormal(True)
    if job.device == "cpu":
        torch.set_num_threads(max(1, usable_cores() // recipe.workers))
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=recipe.workers)
    try:
        _Worker(rank, job, tokenizer_json).run()
    finally:
        dist.destroy_process_group()


class _Worker:
    """One process. All hold the same weights and see different scenes."""

    def __init__(self, rank: int, job: Job, tokenizer_json: str) -> None:
        self.rank, self.job, self.recipe = rank, job, job.recipe
        config = job.variant.config
        self.settings = settings_for(config, job.variant, tokenizer_json, None, None)
        self.maker = ExerciseMaker(Tokenizer(tokenizer_json), self.settings, self.recipe)
        self.prefix = self.maker.prefix()
        side = math.isqrt(config.vision_tokens)
        self.grids = (side, side), self.settings.model.region_grid  # of the image's tokens
        self.model = initialise(XSam(config, deformable="grid_sample"), self.recipe.seed)
        if job.start is not None:
            self.model.load_state_dict(load_file(job.start))
        self.model.to(job.device)
        self.heads = PositionHeads(config).to(job.device)
        heads = AdamW(self.heads.parameters(), lr=self.recipe.other_rate)
        self.optimizers = [*optimizers(self.model, self.recipe, rank), heads]
        self.matrices = linear_matrices(self.model)
        self.parameters = [*self.model.parameters(), *self.heads.parameters()]
        self.start = time.monotonic()
        self.progress = ProgressPrinter(sys.stderr)

    def run(self) -> None:
        """Train until the budget is spent."""
        step, reported, lines = 0, 0.0, []
        while (spent := self._spent(step)) < 1:
            self._tell(step)
            set_rates(self.optimizers, schedule(step, spent, self.recipe))
            lesson = int(spent >= self.recipe.second_lesson)
            lines.append(self._step(self._batch(self._seeds(step), lesson)))
            step += 1
            if step % _CURVE_STEPS == 0:
                self._write({"step": step, "progress": round(spent, 4), **_mean(lines)})
                lines.clear()
            if self._agreed(self._minutes() - reported > self.recipe.report_minutes):
                self._report(step)
                reported = self._minutes()
        self._report(step)
        self.progress.clear()

    def _tell(self, step: int) -> None:
        """Show how far the training is; the first worker speaks for all."""
        if self.rank:
            return
        if self.recipe.steps is not None:
            self.progress(Step("train", step, self.recipe.steps, "steps"))
        else:
            seconds = int(60 * self._minutes()), int(60 * self.recipe.minutes)
            self.progress(Step("train", *seconds, "seconds", f"step {step}"))

    def _spent(self, step: int) -> float:
        """The share of the budget."""
        if self.recipe.steps is not None:
            return step / self.recipe.steps
        return self._average(self._minutes() / self.recipe.minutes)

    def _minutes(self) -> float:
        return (time.monotonic() - self.start) / 60

    def _seeds(self, step: int) -> list[int]:
        first = self.recipe.first_seed + (step * self.recipe.workers + self.rank) * self.recipe.batch
        return list(range(first, first + self.recipe.batch))

    def _batch(self, seeds: list[int], lesson: int = 1) -> Batch:
        model = self.settings.model
        size, grid = self.settings.mask_input.height, 2 * model.mask_grid[0]
        views = [view(seed, size, grid) for seed in seeds]
        exercises = [
            self.maker.exercises(seen, np.random.default_rng([seed, self.recipe.seed]), lesson)
            for seen, seed in zip(views, seeds, strict=True)
        ]
        return pack(views, exercises, self.prefix).to(self.job.device)

    def _step(self, batch: Batch) -> dict[str, float]:
        predictions = forward(self.model, batch, self.settings)
        losses = loss(predictions, batch, self.recipe)
        places = self.heads.loss(predictions, self.grids, batch.targets)
        (losses.total + self.recipe.position_weight * places).backward()
        self._share_gradients()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        for parameter in self.parameters:
            parameter.grad = None
        self._share_matrices()
        parts = ("total", "classes", "mask", "dice", "language")
        told = {part: float(getattr(losses, part).detach()) for part in parts}
        return {"norm": float(norm), **told, "places": float(places.detach())}

    def _share_gradients(self) -> None:
        if self.recipe.workers == 1:
            return
        gradients = []
        for parameter in self.parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.recipe.workers
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def _share_matrices(self) -> None:
        """Send every worker the matrices that another one updated."""
        for owner in range(self.recipe.workers if self.recipe.workers > 1 else 0):
            owned = share(self.matrices, owner, self.recipe.workers)
            flat = torch.cat([matrix.detach().flatten() for matrix in owned])
            dist.broadcast(flat, src=owner)
            for matrix, part in zip(owned, flat.split([matrix.numel() for matrix in owned]), strict=True):
                matrix.detach().copy_(part.view_as(matrix))

    def _report(self, step: int) -> None:
        """Validate, add the figures to the curve and write the weights."""
        scores, batch = Scores(), self.recipe.batch
        first = _VALIDATION_SEED + self.rank * self.recipe.validation_scenes
        with torch.no_grad():
            for seed in range(first, first + self.recipe.validation_scenes, batch):
                packed = self._batch(list(range(seed, seed + batch)))
                scores.add(forward(self.model, packed, self.settings, all_layers=False), packed)
        gathered: list[dict[str, list[float]]] = [{}] * self.recipe.workers
        dist.all_gather_object(gathered, dict(scores.totals))
        everything = Scores()
        for totals in gathered:
            for kind, (total, count) in totals.items():
                everything.totals[kind][0] += total
                everything.totals[kind][1] += count
        self._write({"step": step, "validation": everything.means()})
        if self.rank == 0:
            save_weights(self.model, self.job.folder / "model.safetensors")

    def _write(self, line: dict[str, object]) -> None:
        if self.rank:
            return
        line = {"minutes": round(self._minutes(), 2), **line}
        with (self.job.folder / "curve.jsonl").open("a", encoding="utf-8") as curve:
            curve.write(json.dumps(line) + "\n")
        checked = line.pop("validation", None)
        shown = {**line, **checked} if isinstance(checked, dict) else line
        self.progress.clear()
        print("  ".join(f"{key} {value}" for key, value in shown.items()), flush=True)

    def _average(self, value: float) -> float:
        """The same number on every worker, so that all end with the same step."""
        shared = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(shared)
        return float(shared) / self.recipe.workers

    def _agreed(self, here: bool) -> bool:
        return self._average(float(here)) >= 0.5


def _mean(lines: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(float(np.mean([line[key] for line in lines])), 4) for key in lines[0]}
