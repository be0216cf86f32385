"""The same on several processes or machines: an actor of Ray Data for each GPU, or for so many cores.

Needs the package ray, and the bundle and the pictures under the same paths on every machine.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xsam_edge.runtime.errors import BackendError, InputError
from xsam_edge.runtime.label.asks import ask_of
from xsam_edge.runtime.label.labeller import Job, Labeller, Options
from xsam_edge.runtime.model import XSam

LOCAL = "local"
_PATIENCE = 10.0  # seconds for a cluster to answer
_BLOCK = 32  # pictures of a task, whose records come when all are done


@dataclass(frozen=True)
class Cluster:
    """Where work is done: ``address`` of a cluster, or ``LOCAL`` for this machine alone.

    ``workers`` load the bundle once each, None for as many as there are devices. ``loading`` is what ``XSam.load``
    takes beside the bundle; ``threads`` of it, on a CPU, are what a worker takes of a machine's cores.
    """

    address: str
    workers: int | None
    bundle: Path
    options: Options
    loading: Mapping[str, Any]


class Worker:
    """An actor: a model, and batches of pictures."""

    def __init__(self, bundle: str, options: Options, loading: Mapping[str, Any]) -> None:
        self._labeller = Labeller(XSam.load(bundle, **loading), options)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The records of a batch, each as text."""
        records = self._labeller.records(_job(json.loads(text)) for text in batch["item"])
        return {"item": np.array([json.dumps(record) for record in records], object)}


def ray_records(jobs: Iterable[Job], cluster: Cluster) -> Iterator[Mapping[str, Any]]:
    """The record of every picture, as they come.

    A worker that dies is replaced, and its pictures are labelled again.

    Raises:
        ModuleNotFoundError: without ray.
        InputError: no cluster at the address, or none with a device of the kind that is asked for.
        BackendError: Ray does not start, or a worker failed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # progress is told as without Ray
    import ray
    import ray.data

    _check_address(cluster.address)
    try:
        if cluster.address == LOCAL:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="error", ignore_reinit_error=True)
        else:
            ray.init(cluster.address, log_to_driver=False, logging_level="error", ignore_reinit_error=True)
    except Exception as error:  # Ray raises anything, Exception itself among it
        where = "on this machine" if cluster.address == LOCAL else f"with the cluster at {cluster.address!r}"
        raise BackendError(f"Ray does not start {where} ({error}); see its logs in /tmp/ray/session_latest") from error
    try:
        yield from _stream(ray, [_text(job) for job in jobs], cluster)
    except ray.exceptions.RayError as error:
        raise BackendError(f"a worker of Ray failed: {_cause(error)}") from error
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Raise InputError where nobody listens, for whom Ray itself waits for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():
        return  # a word of Ray's own, such as auto
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"no cluster of Ray answers at {address!r} ({error}); check the address") from error


def _cause(error: Exception) -> str:
    """What went wrong, in a line: that of a worker has its traceback in front."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else type(error).__name__)


def _stream(ray: Any, items: list[str], cluster: Cluster) -> Iterator[Mapping[str, Any]]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    resources, size = _resources(ray, cluster)
    data = ray.data.from_items(items, override_num_blocks=-(-len(items) // _BLOCK))
    answers = data.map_batches(
        Worker,
        fn_constructor_args=(str(cluster.bundle.resolve()), cluster.options, dict(cluster.loading)),
        compute=ray.data.ActorPoolStrategy(size=min(size, max(1, len(items)))),
        batch_size=_BLOCK,
        **resources,
    )
    for row in answers.iter_rows():
        yield json.loads(row["item"])


def _resources(ray: Any, cluster: Cluster) -> tuple[dict[str, int], int]:
    """What a worker needs of a cluster, and how many workers there are."""
    there = ray.cluster_resources()
    if cluster.loading["device"] == "cpu":
        cores = int(there.get("CPU", 1))
        each = cluster.loading["threads"] or cores
        most = cores // each
        if (cluster.workers or 1) > most:
            raise InputError(
                f"{cluster.workers or 1} workers of {each} threads take more than the {cores} cores of the cluster; "
                "take fewer --workers or --threads"
            )
        return {"num_cpus": each}, cluster.workers or most
    if not (gpus := int(there.get("GPU", 0))):
        raise InputError(f"the cluster has no GPU for --device {cluster.loading['device']}; Ray says {there}")
    if (cluster.workers or 1) > gpus:
        raise InputError(f"{cluster.workers} workers take a GPU each, and the cluster has {gpus}; take fewer --workers")
    return {"num_gpus": 1}, cluster.workers or gpus


def _text(job: Job) -> str:
    return json.dumps({"place": job.place, "name": job.name, "path": str(job.path), "ask": job.ask.to_json()})


def _job(given: Mapping[str, Any]) -> Job:
    return Job(given["place"], given["name"], Path(given["path"]), ask_of(given["ask"], given["name"]))
