from __future__ import annotations

from pathlib import Path

import pytest

from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.device.memory_plan import check_free_memory, footprint, plan
from xsam_edge.runtime.errors import DeviceMemoryError


def test_what_others_leave_free(phi3_bundle: Path) -> None:
    manifest = read_manifest(phi3_bundle)
    context = manifest.settings.model.context_length
    needed = plan(footprint(manifest), context).needed(False)
    check_free_memory(manifest, context, "RTX 4090", needed, 24 << 30)
    shorter = plan(footprint(manifest), context // 2).needed(False)
    with pytest.raises(DeviceMemoryError) as caught:
        check_free_memory(manifest, context, "RTX 4090", shorter, 24 << 30)
    found = str(caught.value)
    assert "RTX 4090 has" in found and "of 25.77 GB free; end what else uses it" in found
    advised = int(found.rpartition(" ")[2])
    assert context // 4 <= advised <= context // 2
    check_free_memory(manifest, advised, "RTX 4090", shorter, 24 << 30)
    with pytest.raises(DeviceMemoryError, match=r"1\.0 kB of .* free; .*, or use a bundle of lower precision"):
        check_free_memory(manifest, context, "RTX 4090", 1000, 24 << 30)
