"""ONNX Runtime on a GPU: memory is the backend's own, sessions are given addresses.

Nothing crosses to the host but what is uploaded and downloaded by name. Sessions have streams of their own: transfers
are done before a run begins, and a run returns when its outputs are written.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xsam_edge.runtime.backends.base import Buffer
from xsam_edge.runtime.backends.cuda.calls import Cuda
from xsam_edge.runtime.backends.cuda.driver import DriverApi
from xsam_edge.runtime.backends.cuda.tensors import DeviceTensors, copy_all
from xsam_edge.runtime.backends.onnxruntime.library import import_library, one_line, runs_without_logits
from xsam_edge.runtime.backends.onnxruntime.linked import find_model
from xsam_edge.runtime.backends.onnxruntime.providers import Provider
from xsam_edge.runtime.backends.onnxruntime.session import check_types, element_type
from xsam_edge.runtime.backends.tensorrt.plan import (
    PAST_STEP,
    ROW_STEPS,
    BindingPlan,
    Copy,
    capture_key,
    is_capturable,
    plan_bindings,
)
from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.engine_info import DECODE, SUFFIX, EngineProfile
from xsam_edge.runtime.bundle.manifest import GraphSpec
from xsam_edge.runtime.errors import BackendError

_log = logging.getLogger(__name__)

_ANY = (0, 0, 1 << 31)
# Captured runs of a session, which it keeps: before 1.32 ONNX Runtime lets go of none.
_CAPTURES = 16
_UNCAPTURED = -1  # ``gpu_graph_id`` of a run that is none


class GpuBackend(DeviceTensors):
    """ONNX Runtime on an execution provider of GPUs, on the device that is the calling thread's when this is made."""

    prefill_rows: int | None = None  # each part would read all weights again
    resizes_pixels = True
    # Kernels of attention with a bias want rows and keys in whole groups of eight, and captured runs few shapes.
    past_step, row_steps = PAST_STEP, ROW_STEPS

    def __init__(
        self,
        provider: Provider,
        *,
        capture: bool = False,
        ort: Any = None,
        driver: DriverApi | None = None,
        cudart: Any = None,
    ) -> None:
        """Open the device.

        Args:
            provider: one of ``providers``.
            capture: let ONNX Runtime capture runs that repeat as CUDA graphs, where its provider can. Off by default:
                it fulfils what is documented (fixed addresses, nothing on the CPU but shapes), but was never run.
            ort: in place of the package ``onnxruntime``.
            driver: in place of the driver's library.
            cudart: in place of ``driver``, for memory and copies.

        Raises:
            BackendError: ONNX Runtime has no such provider, or libraries that it needs are missing.
            NoDeviceError: no GPU, no driver, or one that is too old.
        """
        ort = ort or import_library()
        driver = provider.check(ort, driver)
        super().__init__(Cuda(cudart or driver))
        self.name = f"onnxruntime-{provider.device}"
        self.runs_without_logits = runs_without_logits(ort)
        self._ort, self._provider = ort, provider
        self._capture = capture and provider.captures

    def open(self, path: Path, spec: GraphSpec) -> GpuGraph:
        """See :class:`xsam_edge.runtime.backends.base.Backend`."""
        captured = self._capture
        with self._cuda.device():
            try:
                session = self._session(path, capture=captured)
            except BackendError as error:
                if not captured:
                    raise
                _log.info("runs of %s are not captured: %s", spec.file, error)
                captured, session = False, self._session(path, capture=False)
        check_types(session, path, spec)
        return GpuGraph(session, spec, self, self._ort.RunOptions if captured else None)

    def _session(self, path: Path, *, capture: bool) -> Any:
        model = find_model(self._ort, path)
        try:
            return self._provider.session(self._ort, model, self._cuda.index, capture=capture)
        except BackendError as error:
            raise BackendError(f"{path} cannot be run on {self._provider.device}: {error}") from error
        except Exception as error:  # its exception types share no base
            raise BackendError(f"{path} cannot be loaded by ONNX Runtime: {one_line(error)}") from error

    @contextmanager
    def ready(self, copies: Sequence[Copy]) -> Iterator[None]:
        """Be on this device, with every transfer so far and these copies done."""
        with self._cuda.device():
            copy_all(self._cuda, copies, self._transfers)
            self._wait()
            yield

    def finish(self, copies: Sequence[Copy]) -> None:
        """Copy what a run wrote, and wait for that."""
        if copies:
            copy_all(self._cuda, copies, self._transfers)
            self._wait()

    @property
    def device_index(self) -> int:
        """CUDA's number of the device."""
        return self._cuda.index


class GpuGraph:
    """One session. See :class:`xsam_edge.runtime.backends.base.Graph`; runs of one graph come from one thread."""

    def __init__(
        self, session: Any, spec: GraphSpec, backend: GpuBackend, run_options: Callable[[], Any] | None
    ) -> None:
        """``run_options`` makes ONNX Runtime's ``RunOptions`` for a session that captures; None: it does not."""
        self.spec = spec
        self._session, self._backend, self._run_options = session, backend, run_options
        self._profiles = _profiles(spec, repeat=run_options is not None)
        self._scratch: dict[int, Buffer] = {}  # by profile: captured runs have its address
        self._seen: OrderedDict[tuple[Any, ...], None] = OrderedDict()
        self._captured: dict[tuple[Any, ...], tuple[Any, Any]] = {}

    def run(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> None:
        """See :class:`xsam_edge.runtime.backends.base.Graph`.

        Raises:
            BackendError: ONNX Runtime fails, or a buffer is missing or of another dtype.
        """
        plan = plan_bindings(self.spec, self._profiles, inputs, outputs, self._get_scratch)
        with self._backend.ready(plan.before):
            binding, options = self._bind(plan, outputs)
            try:
                self._session.run_with_iobinding(binding, options)
            except Exception as error:  # its exception types share no base
                raise BackendError(f"{self.spec.file} failed in ONNX Runtime: {one_line(error)}") from error
            self._backend.finish(plan.after)

    def _bind(self, plan: BindingPlan, outputs: Mapping[str, Buffer]) -> tuple[Any, Any]:
        """What is bound where, and the options of a run: one that is captured, or was, keeps both."""
        if self._run_options is None:
            return self._new_binding(plan, outputs), None
        key = capture_key(plan, 0)
        if key in self._captured:
            return self._captured[key]
        binding, number = self._new_binding(plan, outputs), _UNCAPTURED
        if key in self._seen and len(self._captured) < _CAPTURES:
            number = len(self._captured)
        options = self._run_options()
        options.add_run_config_entry("gpu_graph_id", str(number))
        if number != _UNCAPTURED:
            self._captured[key] = binding, options
        elif is_capturable(self.spec, self._profiles[plan.profile]):  # most others never come back
            self._seen[key] = None
            if len(self._seen) > _CAPTURES:
                self._seen.popitem(last=False)
        return binding, options

    def _new_binding(self, plan: BindingPlan, outputs: Mapping[str, Buffer]) -> Any:
        binding, index = self._session.io_binding(), self._backend.device_index
        for tensor in self.spec.inputs:
            where = tensor.dtype, plan.shapes[tensor.name], plan.addresses[tensor.name]
            binding.bind_input(tensor.name, "cuda", index, element_type(where[0]), *where[1:])
        for tensor in self.spec.outputs:
            where = tensor.dtype, outputs[tensor.name].shape, plan.addresses[tensor.name]
            binding.bind_output(tensor.name, "cuda", index, element_type(where[0]), *where[1:])
        return binding

    def _get_scratch(self, profile: int, nbytes: int) -> int:
        scratch = self._scratch.get(profile)
        if scratch is None or scratch.nbytes < nbytes:
            scratch = self._scratch[profile] = self._backend.allocate((nbytes,), "uint8")
        return scratch.address


def _profiles(spec: GraphSpec, *, repeat: bool) -> tuple[EngineProfile, ...]:
    """Sizes of every axis, and with ``repeat`` those of runs behind a past apart, which may be replayed."""
    axes = dict.fromkeys(sorted(spec.axes), _ANY)
    profiles = [EngineProfile("any", axes)]
    if repeat and contract.PAST in axes:
        behind = {contract.PAST: (1, 1, _ANY[2])} | ({contract.BATCH: (1, 1, 1)} if contract.BATCH in axes else {})
        for name, most in ((SUFFIX, ROW_STEPS[-1]), (DECODE, 1)):
            profiles.append(EngineProfile(name, {**axes, **behind, contract.SEQUENCE: (1, 1, most)}))
    return tuple(profiles)
