"""The one pass over calibration data: pictures through the real chain, statistics on the side, resumed and cached.

What is kept has the size of the statistics, whatever the number of pictures. It is written every so often under a key
of all that it depends on: graphs, weights, data and the form of answers. So an interrupted run goes on where it was,
and a second export finds it whole. Neither precision nor method of ranges is part of the key, because neither enters
the statistics: ranges are chosen from them afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx_ir as ir

from xsam_edge.calibration.calibration_data import CalibrationData
from xsam_edge.calibration.data.samples import Picture
from xsam_edge.calibration.evaluation.run import MAX_UNREADABLE, AskOptions, ask_scene
from xsam_edge.calibration.instrumented import CalibrationDevice
from xsam_edge.calibration.staged.run import fits_whole
from xsam_edge.calibration.statistics.backend import ProbedBackend
from xsam_edge.calibration.statistics.by_stages import Collector
from xsam_edge.calibration.statistics.probes import Probe
from xsam_edge.calibration.statistics.stats import NotFiniteError, TensorStats
from xsam_edge.calibration.statistics.store import Saved, Watched, load, prepare_folder, save
from xsam_edge.calibration.stored_weights import load_graph
from xsam_edge.runtime.asking import AnswerMode
from xsam_edge.runtime.bundle.manifest import (
    EMBEDDINGS_FILE,
    TOKENIZER_FILE,
    Manifest,
    bundle_path,
    read_manifest,
)
from xsam_edge.runtime.bundle.verification import check_files
from xsam_edge.runtime.errors import InputError, XSamError
from xsam_edge.runtime.model import XSam
from xsam_edge.runtime.progress import Progress, Step, silent
from xsam_edge.runtime.user_cache import user_cache

FORMAT = 1  # of the statistics; a change makes those of before invalid
SAVE_SECONDS = 30.0  # between two saved states, or twenty times what saving takes

Choose = Callable[[ir.Model], Sequence[tuple[Probe, bool]]]
"""The probes of a graph, and whether each keeps a histogram per channel, which smoothing needs."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """What was collected.

    ``tensors`` are by "graph file:tensor name"; those that no data reached (``reached`` is false) are there too.
    ``pictures`` counts what was looked at, ``unreadable`` names what could not be.
    """

    tensors: Mapping[str, TensorStats]
    pictures: int
    unreadable: tuple[str, ...] = ()


def default_cache() -> Path:
    """Where statistics are kept by default.

    The folder is ``calibration`` in $XSAM_EDGE_CACHE, in $XDG_CACHE_HOME/xsam-edge, or in ~/.cache/xsam-edge.
    """
    if own := os.environ.get("XSAM_EDGE_CACHE"):
        return Path(own) / "calibration"
    return user_cache() / "calibration"


def cache_key(manifest: Manifest, data: CalibrationData, answer: AnswerMode = "greedy") -> str:
    """SHA-256 of all that statistics depend on.

    These are the graphs, weights and tokenizer by their hashes, the settings of prompts and images, the data by their
    description, and the form of answers.
    """
    graphs = {graph.file for graph in manifest.graphs.values()}
    names = graphs | {f"{file}.data" for file in graphs} | {TOKENIZER_FILE, EMBEDDINGS_FILE}
    files = {name: entry.sha256 for name, entry in manifest.files.items() if name in names}
    text = json.dumps([FORMAT, files, asdict(manifest.settings), data.describe(), answer], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def collect(
    bundle: Path,
    data: CalibrationData,
    choose: Choose,
    cache: Path,
    *,
    answer: AnswerMode = "greedy",
    threads: int = 0,
    device: CalibrationDevice = "cpu",
    progress: Progress = silent,
) -> Statistics:
    """Statistics of all probes over the pictures of ``data.calibration``.

    Args:
        bundle: in FP32.
        data: see :func:`~xsam_edge.calibration.calibration_data.open_calibration`.
        choose: see ``Choose``; called for each graph.
        cache: the folder of statistics; see :func:`default_cache`. What is there already is not computed again.
        answer: how to ask. Appended answers need no logits, so that the language model's head gets no statistics. A
            model that is too large to be run as a whole is always asked with appended answers, whose last rows its
            head is given.
        threads: of ONNX Runtime; 0 takes every core.
        device: that computes; statistics are the same but for rounding.
        progress: told of each picture before it is looked at; of nothing where the cache holds everything.

    Raises:
        InputError: more than ``MAX_UNREADABLE`` of the images cannot be read, or an ask does not fit the model.
        XSamError: an activation is not finite (names graph, node and tensor), or the disk is full.
        BundleError, BackendError: the bundle cannot be loaded.
    """
    manifest = read_manifest(bundle)
    check_files(bundle, manifest, verify="none")
    prepare_folder(cache)
    whole = fits_whole(manifest)
    path = cache / f"{cache_key(manifest, data, answer if whole else 'append')}.npz"
    wanted = _wanted(bundle, manifest, choose)
    state = _resumed(path, wanted, len(data.calibration))
    if not state.is_whole:
        chosen = partial(_probes, choose)
        if whole:
            backend = ProbedBackend(chosen, partial(_listen, state), threads, device)
            model = XSam.load(bundle, backend=backend, verify="none")
            _go_on(state, path, model, data.calibration, AskOptions(answer), progress)
        else:
            _collect_by_stages(state, path, bundle, chosen, data.calibration, threads, device, progress)
    tensors = {name: state.tensors[name] for name in wanted}
    return Statistics(tensors, state.done - len(state.unreadable), tuple(state.unreadable))


def _probes(choose: Choose, model: ir.Model) -> list[Probe]:
    return [probe for probe, _ in choose(model)]


def _collect_by_stages(
    state: Saved,
    path: Path,
    bundle: Path,
    choose: Callable[[ir.Model], Sequence[Probe]],
    pictures: Sequence[Picture],
    threads: int,
    device: CalibrationDevice,
    progress: Progress,
) -> None:
    def listen(file: str, probe: Probe, parts: Mapping[str, npt.NDArray[Any]]) -> None:
        if collector.listens:
            _listen(state, file, probe, parts)

    backend = ProbedBackend(choose, listen, threads, device)
    collector = Collector(bundle, backend, state, path, partial(_skip, state, looked_at=state.total), progress)
    collector.go_on(pictures)


def _skip(state: Saved, name: str, looked_at: int) -> None:
    """Count a picture that cannot be read. Raises InputError where there are too many."""
    state.unreadable.append(name)
    if len(state.unreadable) > MAX_UNREADABLE * state.total:
        raise InputError(
            f"{len(state.unreadable)} of {looked_at} images for calibration cannot be read, such as "
            f"{state.unreadable[0]}; at most {MAX_UNREADABLE:.0%} may be missing or damaged"
        )


def _wanted(bundle: Path, manifest: Manifest, choose: Choose) -> dict[str, Watched]:
    wanted = {}
    for graph in manifest.graphs.values():
        for probe, per_channel in choose(load_graph(bundle_path(bundle, graph.file))):
            wanted[_key(graph.file, probe)] = Watched(probe.channels, probe.axis, per_channel)
    return wanted


def _key(file: str, probe: Probe) -> str:
    return f"{file}:{probe.tensor}"


def _resumed(path: Path, wanted: Mapping[str, Watched], total: int) -> Saved:
    """What is saved, if it has what is wanted; else the state before the first picture."""
    saved = load(path)
    if saved is not None and saved.total == total:
        # A whole pass that watched more serves too; one that goes on must watch the same tensors to its end.
        more = all(name in saved.watched and saved.watched[name].covers(item) for name, item in wanted.items())
        if saved.watched == wanted or (saved.is_whole and more):
            return saved
    tensors = {name: TensorStats.empty(item.channels, item.per_channel) for name, item in wanted.items()}
    return Saved(wanted, total, tensors)


def _listen(state: Saved, file: str, probe: Probe, parts: Mapping[str, npt.NDArray[Any]]) -> None:
    try:
        state.tensors[_key(file, probe)].add(
            parts["lowest"], parts["highest"], parts["squares"], parts["rows"], int(parts["size"][0])
        )
    except NotFiniteError as error:
        made = f"written by node {probe.node}" if probe.node else "an input of the graph"
        raise XSamError(
            f"{file}: the tensor {probe.tensor}, {made}, holds NaN, infinity or magnitudes beyond 1e19 in {error}; "
            "the weights before it are damaged or far too large"
        ) from None


def _go_on(
    state: Saved, path: Path, model: XSam, pictures: Sequence[Picture], options: AskOptions, progress: Progress
) -> None:
    """Ask what is left, and save now and then and at the end."""
    next_save = time.monotonic() + SAVE_SECONDS
    for index in range(state.done, state.total):
        progress(Step("calibration", index, state.total, "pictures"))
        picture = pictures[index]
        if not _look(model, picture, options):
            _skip(state, picture.name, index + 1)
        state.done = index + 1
        if state.is_whole or time.monotonic() > next_save:
            start = time.monotonic()
            save(path, state)
            next_save = time.monotonic() + max(SAVE_SECONDS, 20 * (time.monotonic() - start))


def _look(model: XSam, picture: Picture, options: AskOptions) -> bool:
    """Ask all of one picture; false where its image cannot be read."""
    try:
        image = picture.image()
    except OSError:
        return False
    try:
        with model.look(image) as scene:
            for ask in picture.asks:
                ask_scene(scene, ask, options)
    except XSamError as error:
        raise type(error)(f"{picture.name}: {error}") from error
    return True
