"""What a bundle needs in memory, told from its manifest before anything is built or loaded.

Activations are what a compiler said of each engine's profiles, and before there are engines estimates (see
:class:`ActivationSizes`). A GPU with memory of its own encodes the next image beside the answer about one, so that it
has two blocks of them; where host and device share their memory, all graphs take turns with one. Everything else is
arithmetic.

Left out are captured runs, kernels that are compiled at run time, contexts of engines beside their activations, further
caches of open scenes, logits and masks of more than one prompt, and what else uses the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

from xsam_edge.runtime.bundle import contract
from xsam_edge.runtime.bundle.activation_sizes import ActivationSizes
from xsam_edge.runtime.bundle.dtypes import ITEM_SIZES
from xsam_edge.runtime.bundle.engine_info import MOST_TOKENS, SUFFIX
from xsam_edge.runtime.bundle.manifest import EMBEDDINGS_FILE, TOKENIZER_FILE, Manifest, TensorSpec
from xsam_edge.runtime.device.cuda_device import DeviceInfo
from xsam_edge.runtime.errors import DeviceMemoryError
from xsam_edge.runtime.units import size

GIB = 1 << 30
# Interpreter, packages and the libraries of CUDA and TensorRT.
_PROCESS = GIB // 2


@dataclass(frozen=True)
class DeviceMemory:
    """Memory of a device in bytes; ``reserved`` is not for models. ``shared``: the host has no other (Jetson)."""

    total: int
    reserved: int
    shared: bool

    @property
    def available(self) -> int:
        """What a model may take."""
        return self.total - self.reserved


def device_memory(device: DeviceInfo) -> DeviceMemory:
    """Memory of the GPU of this machine."""
    return DeviceMemory(device.memory, (3 * GIB // 2) if device.integrated else GIB // 2, device.integrated)


@dataclass(frozen=True)
class Footprint:
    """What a memory plan is made of, of a bundle or of a model that is yet to be exported. Sizes in bytes."""

    variant: str
    precision: str
    weights: Mapping[str, int]  # per graph
    embeddings: int
    cache_token: int  # keys and values of one token, all layers
    cache_itemsize: int  # of one of them
    buffers: int  # image features, class and mask logits, and what a decoding step takes and gives
    activations: ActivationSizes
    itemsize: int  # of an activation
    image_tokens: int
    context_limit: int
    heads: int  # of queries
    head_dim: int
    vocabulary: int
    scratch: Mapping[str, int] = field(default_factory=dict)  # graph -> activations that its compiler told

    def scratch_bytes(self, graph: str, context: int) -> int:
        """Activations of a graph, as they were told or else estimated."""
        if graph in self.scratch:
            return self.scratch[graph]
        sizes = self.activations
        estimates = {
            contract.IMAGE_ENCODER: sizes.image_encoder,
            contract.MASK_DECODER: sizes.mask_decoder,
            contract.LLM: sizes.llm(context),
        }
        return estimates[graph] * self.itemsize


@dataclass(frozen=True)
class Row:
    """One line of a plan."""

    what: str
    bytes: int
    place: Literal["device", "host", "own device"]  # the last: of a device that shares no memory with the host


@dataclass(frozen=True)
class MemoryPlan:
    """The rows of a model with a cache for ``context`` tokens."""

    context: int
    rows: tuple[Row, ...]

    def needed(self, shared: bool) -> int:
        """Bytes that have to fit a device: the host's too where both share their memory."""
        other = "host" if shared else "own device"
        return sum(row.bytes for row in self.rows if row.place in ("device", other))

    def fits(self, memory: DeviceMemory) -> bool:
        """Whether a device has as much to give."""
        return self.needed(memory.shared) <= memory.available

    def as_dict(self) -> dict[str, int]:
        """Row -> bytes."""
        return {row.what: row.bytes for row in self.rows}


def plan(footprint: Footprint, context: int) -> MemoryPlan:
    """Weights, cache, activations and host memory for a context of ``context`` tokens."""
    encoder = footprint.scratch_bytes(contract.IMAGE_ENCODER, context)
    answers = max(footprint.scratch_bytes(graph, context) for graph in (contract.LLM, contract.MASK_DECODER))
    told = "" if footprint.scratch else " (estimate)"
    rows = [Row(f"weights: {graph}", size, "device") for graph, size in footprint.weights.items()]
    rows += [
        Row("key-value cache", context * footprint.cache_token, "device"),
        Row("new rows before they are in the cache", _most_new_rows(context) * footprint.cache_token, "device"),
        Row(f"activations{told}", max(encoder, answers), "device"),
        Row(f"activations of a second stream{told}", min(encoder, answers), "own device"),
        Row("features and outputs", footprint.buffers, "device"),
        Row("token embeddings (mapped file)", footprint.embeddings, "host"),
        Row("process and libraries", _PROCESS, "host"),
    ]
    return MemoryPlan(context, tuple(rows))


def _most_new_rows(context: int) -> int:
    """Of a run that may be replayed, which gives them at an address of its own."""
    return min(MOST_TOKENS[SUFFIX], context)


def footprint(manifest: Manifest) -> Footprint:
    """The facts of a bundle, of ONNX graphs or of engines."""
    model = manifest.settings.model
    llm = manifest.graphs[contract.LLM]
    cache_itemsize = ITEM_SIZES[llm.input(contract.past_key(0)).dtype]
    itemsize = ITEM_SIZES[llm.input(contract.INPUTS_EMBEDS).dtype]
    activations = manifest.activations or _typical(manifest)
    return Footprint(
        variant=manifest.variant,
        precision=manifest.precision,
        weights={
            name: sum(entry.bytes for file, entry in manifest.files.items() if file.startswith(graph.file))
            for name, graph in manifest.graphs.items()
        },
        embeddings=sum(
            manifest.files[name].bytes for name in (EMBEDDINGS_FILE, TOKENIZER_FILE) if name in manifest.files
        ),
        cache_token=2 * model.num_layers * model.num_kv_heads * model.head_dim * cache_itemsize,
        cache_itemsize=cache_itemsize,
        buffers=sum(
            _bytes(tensor)
            for name in (contract.IMAGE_ENCODER, contract.MASK_DECODER)
            for tensor in manifest.graphs[name].outputs
        )
        + sum(_bytes(tensor) for tensor in (*llm.inputs, *llm.outputs) if contract.PAST not in tensor.shape),
        activations=activations,
        itemsize=itemsize,
        image_tokens=model.image_tokens,
        context_limit=model.context_length,
        heads=activations.llm_heads or max(model.num_kv_heads, model.hidden_size // model.head_dim),
        head_dim=model.head_dim,
        vocabulary=model.vocab_size,
        scratch=_told(manifest),
    )


def _told(manifest: Manifest) -> dict[str, int]:
    figures = {} if manifest.engine is None else manifest.engine.figures
    return {graph: told.scratch_bytes for graph, told in figures.items() if told.profiles}


def check_memory(manifest: Manifest, context: int, device: DeviceInfo) -> MemoryPlan:
    """The plan of a bundle on the GPU of this machine.

    Raises:
        DeviceMemoryError: it does not fit; the message names a context that would, if one does.
    """
    memory = device_memory(device)
    wanted, shorter = _plan_or_shorter(manifest, context, memory)
    if shorter is None:
        return wanted
    advice = f"load it with --context {shorter}" if shorter else "use a bundle of lower precision or a smaller variant"
    raise DeviceMemoryError(
        f"the bundle needs {size(wanted.needed(memory.shared))} with a context of {context} tokens, {device.name} has "
        f"{size(memory.available)} to give; {advice}"
    )


def check_free_memory(manifest: Manifest, context: int, name: str, free: int, total: int) -> None:
    """Check that a bundle fits what other programs leave of a GPU's memory, ``free`` of ``total`` bytes.

    Raises:
        DeviceMemoryError: it does not fit; the message names a context that would, if one does.
    """
    wanted, shorter = _plan_or_shorter(manifest, context, DeviceMemory(free, 0, shared=False))
    if shorter is None:
        return
    advice = f"or load it with --context {shorter}" if shorter else "or use a bundle of lower precision"
    raise DeviceMemoryError(
        f"the bundle needs {size(wanted.needed(False))} with a context of {context} tokens, {name} has {size(free)} of "
        f"{size(total)} free; end what else uses it (`nvidia-smi` lists that), {advice}"
    )


def _plan_or_shorter(manifest: Manifest, context: int, memory: DeviceMemory) -> tuple[MemoryPlan, int | None]:
    """The plan of a bundle, and where it does not fit the longest context that would, 0 if none does."""
    facts = footprint(manifest)
    wanted = plan(facts, context)
    return wanted, None if wanted.fits(memory) else longest_context(facts, memory, context)


def longest_context(facts: Footprint, memory: DeviceMemory, below: int) -> int:
    """The longest context that fits, in steps of 256 and below ``below``; 0 if not even an image and a prompt do."""
    step = 256
    # One step of text is the least that can be asked about an image.
    for context in range((below - 1) // step * step, facts.image_tokens + step - 1, -step):
        if plan(facts, context).fits(memory):
            return context
    return 0


def table(wanted: MemoryPlan, memory: DeviceMemory | None, name: str) -> str:
    """The plan as text, one row a line."""
    width = max(len(row.what) for row in wanted.rows)
    lines = [f"memory plan for a context of {wanted.context} tokens"]
    lines += [f"  {row.what:<{width}} {size(row.bytes):>10}  {row.place}" for row in wanted.rows]
    lines.append(f"  {'in all':<{width}} {size(wanted.needed(True)):>10}  device {size(wanted.needed(False))}")
    if memory is not None:
        place = "host and device together" if memory.shared else "device"
        verdict = "fits" if wanted.fits(memory) else "does not fit"
        lines.append(
            f"  {name}: {size(memory.total)}, {size(memory.reserved)} of it reserved, "
            f"{size(memory.available)} for {place}: {verdict}"
        )
    return "\n".join(lines)


def line(wanted: MemoryPlan) -> str:
    """The plan in one line."""
    rows = ", ".join(f"{row.what} {size(row.bytes)}" for row in wanted.rows if row.place != "host")
    return f"device memory {size(wanted.needed(False))} for a context of {wanted.context} tokens: {rows}"


def _typical(manifest: Manifest) -> ActivationSizes:
    """For bundles that do not record theirs: the sizes of the released encoders, heads as wide as the cache's."""
    model, mask = manifest.settings.model, manifest.settings.mask_input
    heads = max(model.num_kv_heads, model.hidden_size // model.head_dim)
    patches = (mask.height // 16) * (mask.width // 16)
    grid = prod(model.mask_grid)
    return ActivationSizes(
        image_encoder=2 * 16 * patches**2 + 8 * 1024 * patches,
        mask_decoder=3 * model.num_queries * grid,
        llm_token=10 * model.hidden_size,
        llm_context=4 * heads * model.head_dim,
        llm_score=2 * heads,
    )


def _bytes(tensor: TensorSpec) -> int:
    return prod(axis if isinstance(axis, int) else 1 for axis in tensor.shape) * ITEM_SIZES[tensor.dtype]


def summary(wanted: MemoryPlan) -> dict[str, Any]:
    """The plan as JSON values."""
    return {
        "context": wanted.context,
        "rows": [{"what": row.what, "bytes": row.bytes, "place": row.place} for row in wanted.rows],
        "device_bytes": wanted.needed(False),
        "all_bytes": wanted.needed(True),
    }
