"""Pictures and their exercises as one batch of tensors.

The image stages and the shared prefix of the prompts are computed once per picture. Exercises come behind the prefix's
cache, as in the runtime, in groups of similar length, so that little is padding. Padding stands at the end, where no
row that counts can see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from xsam_edge.export.demo.training.exercises import Exercise, View
from xsam_edge.runtime.language.tokenizer import Ids


@dataclass(frozen=True, eq=False)
class ExerciseGroup:
    """n exercises of S rows behind the prefix, M of them with masks."""

    picture: Tensor  # int64 [n], which picture each is about
    ids: Tensor  # int64 [n, S]; REGION_ID where embeddings are put in
    next_ids: Tensor  # int64 [n, S], the token that an answer continues with, -100 where none is judged
    segmenting: Tensor  # int64 [M], which of the n exercises have masks
    seg_row: Tensor  # int64 [M], row of <SEG>
    pooling: Tensor  # [M, C, S], weights of the rows of each condition: they sum to 1, or to 0 where there is none


@dataclass(frozen=True, eq=False)
class Batch:
    """B pictures and N exercises with masks, in the order of the groups; K targets at most; R regions."""

    pixels: Tensor  # uint8 [B, size, size, 3]
    prefix: Tensor  # int64 [P]
    groups: tuple[ExerciseGroup, ...]
    points: Tensor  # [R, points, 2], in the order of the groups
    region_picture: Tensor  # int64 [R]
    exercise_picture: Tensor  # int64 [N]
    has_condition: Tensor  # bool [N, C]
    targets: Tensor  # [N, K, grid, grid], 0..1
    labels: Tensor  # int64 [N, K], condition of each target, -1 where there is none
    kinds: tuple[str, ...]  # of the N exercises

    def to(self, device: str) -> Batch:
        """The same batch on a device."""
        return _moved(self, device)


def pack(views: Sequence[View], exercises_of: Sequence[Sequence[Exercise]], prefix: Ids, groups: int = 3) -> Batch:
    """Lay out pictures with their exercises; ``prefix`` are the tokens that all prompts begin with."""
    exercises = [(picture, exercise) for picture, of_picture in enumerate(exercises_of) for exercise in of_picture]
    exercises.sort(key=lambda item: len(item[1].row))
    parts = [exercises[len(exercises) * i // groups : len(exercises) * (i + 1) // groups] for i in range(groups)]
    ordered = [item for part in parts for item in part if item[1].has_masks]
    conditions = max(int(exercise.row.cond_ids.max()) for _, exercise in ordered) + 1
    packed = tuple(_group(part, conditions) for part in parts if part)

    grid = views[0].cover.shape[-1]
    most = max(1, *(len(exercise.targets) for _, exercise in ordered))
    targets = np.zeros((len(ordered), most, grid, grid), np.float32)
    labels = np.full((len(ordered), most), -1, np.int64)
    for number, (picture, exercise) in enumerate(ordered):
        for index, (segments, label) in enumerate(zip(exercise.targets, exercise.labels, strict=True)):
            targets[number, index] = views[picture].cover[list(segments)].sum(0, dtype=np.float32) / 255
            labels[number, index] = label
    regions = [
        (picture, points)
        for picture, exercise in exercises
        if exercise.points is not None
        for points in exercise.points
    ]
    return Batch(
        pixels=torch.from_numpy(np.stack([view.pixels for view in views])),
        prefix=torch.from_numpy(prefix),
        groups=packed,
        points=torch.from_numpy(np.stack([points for _, points in regions]) if regions else np.zeros((0, 1, 2))),
        region_picture=torch.tensor([picture for picture, _ in regions], dtype=torch.int64),
        exercise_picture=torch.tensor([picture for picture, _ in ordered]),
        has_condition=torch.cat([group.pooling.sum(2) > 0 for group in packed]),
        targets=torch.from_numpy(targets.clip(0, 1)),
        labels=torch.from_numpy(labels),
        kinds=tuple(exercise.kind for _, exercise in ordered),
    )


def _group(exercises: Sequence[tuple[int, Exercise]], conditions: int) -> ExerciseGroup:
    size = max(len(exercise.row) for _, exercise in exercises)
    ids = np.zeros((len(exercises), size), np.int64)
    next_ids = np.full_like(ids, -100)
    segmenting = [number for number, (_, exercise) in enumerate(exercises) if exercise.has_masks]
    pooling = np.zeros((len(segmenting), conditions, size), np.float32)
    seg_row = np.zeros(len(segmenting), np.int64)
    for number, (_, exercise) in enumerate(exercises):
        length, answer = len(exercise.row), exercise.answer_start
        ids[number, :length] = exercise.row.input_ids
        next_ids[number, answer - 1 : length - 1] = exercise.row.input_ids[answer:]
    for number, index in enumerate(segmenting):
        row = exercises[index][1].row
        part = pooling[number, :, : len(row)]
        part[:] = row.cond_ids[None] == np.arange(conditions)[:, None]
        part /= np.maximum(part.sum(1, keepdims=True), 1)
        seg_row[number] = int(np.flatnonzero(row.seg_ids >= 0)[0])
    return ExerciseGroup(
        picture=torch.tensor([picture for picture, _ in exercises]),
        ids=torch.from_numpy(ids),
        next_ids=torch.from_numpy(next_ids),
        segmenting=torch.tensor(segmenting, dtype=torch.int64),
        seg_row=torch.from_numpy(seg_row),
        pooling=torch.from_numpy(pooling),
    )


_Packed = TypeVar("_Packed", ExerciseGroup, Batch)


def _moved(packed: _Packed, device: str) -> _Packed:
    """A dataclass of tensors, and of tuples of such, on a device."""
    changes: dict[str, Any] = {}
    for item in fields(packed):
        value = getattr(packed, item.name)
        if isinstance(value, Tensor):
            changes[item.name] = value.to(device)
        elif item.name == "groups":
            changes[item.name] = tuple(_moved(group, device) for group in value)
    return replace(packed, **changes)
