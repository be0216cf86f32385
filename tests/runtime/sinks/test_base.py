from __future__ import annotations

from xsam_edge.runtime.results.result import Result
from xsam_edge.runtime.sinks.base import segments, words


def test_captions_and_chats_are_read() -> None:
    results = [Result(task, (), (4, 4), caption=task) for task in ("refseg", "gcgseg", "chat")]
    assert words([*results, Result("chat", (), (4, 4))]) == ["gcgseg", "chat"]
    assert segments(results)
    assert not segments(results[2:])
