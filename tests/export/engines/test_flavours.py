from __future__ import annotations

import pytest

from xsam_edge.export.engines.flavours import _capturable


@pytest.mark.engines
def test_engines_of_tensorrt_rtx_can_be_captured() -> None:
    """They allocate nothing while they run, for which the builder has to be asked."""
    trt = pytest.importorskip("tensorrt_rtx")
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    plain = builder.create_builder_config()
    assert not plain.get_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    config = _capturable(lambda builder, network: plain)(builder, network)
    assert config is plain and config.get_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
