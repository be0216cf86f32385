"""One engine that runs: a context per profile, activation memory shared with others, captured runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from xsam_edge.runtime.backends.base import Buffer
from xsam_edge.runtime.backends.cuda.calls import Cuda
from xsam_edge.runtime.backends.cuda.pool import Block, Pool
from xsam_edge.runtime.backends.cuda.tensors import copy_all
from xsam_edge.runtime.backends.tensorrt.engine import Library
from xsam_edge.runtime.backends.tensorrt.plan import (
    BindingPlan,
    Captures,
    capture_key,
    plan_bindings,
)
from xsam_edge.runtime.bundle.engine_info import EngineProfile
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.errors import BackendError


class Activations:
    """Memory for the activations of engines that never run together: as much as the largest of them asks for."""

    def __init__(self, pool: Pool) -> None:
        self.lock = threading.Lock()  # held while one of them runs
        self._pool = pool
        self.block: Block | None = None

    def grow(self, nbytes: int) -> None:
        """Make room for an engine."""
        if self.block is None or self.block.nbytes < nbytes:
            self.block = None  # first, so that both need not be there at once
            self.block = self._pool.take(nbytes)


class Transfers(Protocol):
    """The part of the backend that a run needs."""

    def follow_transfers(self, stream: Any, event: Any) -> None:
        """Let a stream wait for every upload so far."""

    def synchronize(self) -> None:
        """Wait for every transfer so far, and let go of the memory that they read."""

    def allocate(self, shape: tuple[int, ...], dtype: Any) -> Buffer:
        """Memory on the device."""


class TensorRTGraph:
    """See :class:`xsam_edge.runtime.backends.base.Graph`. Runs of one graph come from one thread."""

    def __init__(
        self,
        spec: GraphSpec,
        profiles: Sequence[EngineProfile],
        engine: Any,
        library: Library,
        cuda: Cuda,
        stream: Any,
        activations: Activations,
        transfers: Transfers,
    ) -> None:
        self.spec = spec
        self._profiles = profiles
        self._engine = engine
        self._library = library
        self._cuda = cuda
        self._stream = stream
        self._activations = activations
        self._transfers = transfers
        self._uploaded = cuda.event()
        self._scratch: dict[int, Buffer] = {}  # by profile: captured runs have its address
        # A context each: a switch of profiles would cost a wait and every shape anew at each question. Captured runs
        # belong to the context that they were captured from.
        self._contexts = [library.context(engine, spec, profiles, index, stream) for index in range(len(profiles))]
        self._bound: dict[int, int] = {}  # profile -> the activation memory its context was given
        self._captures = {
            index: Captures(cuda.destroy) for index, profile in enumerate(profiles) if library.captures(spec, profile)
        }
        cuda.synchronise(stream)  # choosing a profile may have copied something

    def run(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> None:
        """See :class:`xsam_edge.runtime.backends.base.Graph`.

        Raises:
            BackendError: no profile holds the shapes, or TensorRT fails.
        """
        plan = plan_bindings(self.spec, self._profiles, inputs, outputs, self._get_scratch)
        with self._activations.lock, self._cuda.device():
            self._transfers.follow_transfers(self._stream, self._uploaded)
            copy_all(self._cuda, plan.before, self._stream)
            self._execute(plan)
            copy_all(self._cuda, plan.after, self._stream)
            self._cuda.synchronise(self._stream)
            self._library.after_run(self._contexts[plan.profile], self.spec, self._profiles[plan.profile], self._stream)
        self._transfers.synchronize()

    def _execute(self, plan: BindingPlan) -> None:
        activations = self._activations.block
        assert activations is not None, "every graph asks for its activations when it is opened"
        if self._bound.get(plan.profile) != activations.address:
            self._contexts[plan.profile].set_device_memory(activations.address, activations.nbytes)
            self._bound[plan.profile] = activations.address
        captures = self._captures.get(plan.profile)
        if captures is None:
            self._enqueue(plan)
            return
        key = capture_key(plan, activations.address)
        step = captures.next(key)
        if step == "capture":
            executable = self._cuda.capture(self._stream, partial(self._enqueue, plan))
            if executable is None:  # this engine cannot be captured
                captures.clear()
                del self._captures[plan.profile]
            else:
                captures.keep(key, executable)
                step = "replay"
        if step == "replay":
            self._cuda.launch(captures.get(key), self._stream)
        else:
            self._enqueue(plan)

    def _enqueue(self, plan: BindingPlan) -> None:
        context = self._contexts[plan.profile]
        done = (
            all(context.set_input_shape(name, shape) for name, shape in plan.shapes.items())
            and all(context.set_tensor_address(name, address) for name, address in plan.addresses.items())
            and context.execute_async_v3(int(self._stream))
        )
        if not done:
            raise BackendError(f"{self.spec.file} failed in {self._library.flavour}: {self._library.take_errors()}")

    def _get_scratch(self, profile: int, nbytes: int) -> int:
        scratch = self._scratch.get(profile)
        if scratch is None or scratch.nbytes < nbytes:
            scratch = self._scratch[profile] = self._transfers.allocate((nbytes,), "uint8")
        return scratch.address
