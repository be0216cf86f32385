"""What a graph has to do: as its bundle records it, else counted here where packages for that are installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from xsam_edge.runtime.bundle.manifest import Manifest, bundle_path
from xsam_edge.runtime.bundle.work import GraphWork
from xsam_edge.runtime.cli.extras import remedy
from xsam_edge.runtime.errors import BundleError


def unavailable() -> str | None:
    """Why graphs cannot be read on this machine, as on a device with the runtime alone; None where they can."""
    absent = [name for name in ("onnx_ir", "onnxscript", "onnx") if find_spec(name) is None]
    return remedy(absent[0]) if absent else None


def work_of(bundle: Path, manifest: Manifest, graph: str) -> GraphWork:
    """The work of one graph of a bundle.

    Raises:
        BundleError: it is not recorded, and the graph is an engine, cannot be read here, or is not understood.
    """
    if graph in manifest.work:
        return manifest.work[graph]
    if manifest.engine is not None:
        raise BundleError(f"{bundle} does not say what its engines have to do; give their ONNX graphs with --graphs")
    if unread := unavailable():
        raise BundleError(f"{bundle} does not say what {graph} has to do, and {unread}; or export the bundle again")
    from xsam_edge.export.graph.work import count

    return count(bundle_path(bundle, manifest.graphs[graph].file))
