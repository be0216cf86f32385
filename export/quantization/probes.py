"""What of a graph has to be known to quantise it: which values calibration looks at, and along which axis."""

from __future__ import annotations

import onnx_ir as ir

from xsam_edge.calibration.statistics.probes import Probe, make_probe
from xsam_edge.calibration.stored_weights import stored_weights
from xsam_edge.export.quantization import smoothing
from xsam_edge.export.quantization.kv_cache import HEADS_AXIS, new_rows


def probes_of(model: ir.Model, *, cache: bool) -> list[tuple[Probe, bool]]:
    """Of every site's activation; of keys and values too, by heads, where the ``cache`` is quantised."""
    heads = new_rows(model.graph) if cache else []
    probes = {str(value.name): (make_probe(value, HEADS_AXIS), False) for value in heads}
    for site, per_channel in smoothing.probed(model.graph, stored_weights(model.graph)):
        probe = make_probe(site.activation, site.channel_axis)
        known = probes.get(probe.tensor)
        probes[probe.tensor] = (probe, per_channel or (known is not None and known[1]))
    return list(probes.values())
