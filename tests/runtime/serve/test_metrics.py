from __future__ import annotations

import re

from xsam_edge.runtime.serve.metrics import Gauge, Histogram, Metrics, resident_bytes

LINE = re.compile(r'[a-z_]+(\{([a-z]+="(\\.|[^"\\])*",?)*\})? (\d|\.|e|\+|Inf)+')


def test_the_page_is_in_the_text_format() -> None:
    metrics = Metrics()
    metrics.requests.add('/a"b\\', "200")
    metrics.requests.add('/a"b\\', "200")
    metrics.stages.observe(0.002, "llm")
    metrics.stages.observe(99, "llm")
    metrics.gauges.append(Gauge("memory", "Bytes.", lambda: 12345678901))
    lines = metrics.page().splitlines()
    assert all(line.startswith("# ") or LINE.fullmatch(line) for line in lines)
    assert r'xsam_requests_total{path="/a\"b\\",status="200"} 2' in lines
    assert "memory 12345678901" in lines and "xsam_scene_hits_total 0" in lines
    assert 'xsam_stage_seconds_bucket{stage="llm",le="0.001"} 0' in lines
    assert 'xsam_stage_seconds_bucket{stage="llm",le="0.0025"} 1' in lines
    assert 'xsam_stage_seconds_bucket{stage="llm",le="+Inf"} 2' in lines
    assert 'xsam_stage_seconds_count{stage="llm"} 2' in lines


def test_a_bound_counts_as_below_it() -> None:
    histogram = Histogram("h", "", (1, 2))
    histogram.observe(1)
    assert 'h_bucket{le="1"} 1' in list(histogram.lines())


def test_memory() -> None:
    assert resident_bytes() == 0 or resident_bytes() > 1e6
