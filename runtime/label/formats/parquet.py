"""A Parquet file: a row for each picture, with its segments as a list; needs pyarrow."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xsam_edge.runtime.label.formats.writer import DataSet
from xsam_edge.runtime.label.records import Picture

PARQUET = "labels.parquet"
_ROWS = 1000  # of a group, which is held in memory


class Parquet:
    """Columns ``picture``, ``height``, ``width``, ``approximate``, ``segments``: a list of structs.

    These have ``category``, ``category_id``, ``is_thing``, ``score``, ``area``, ``box`` (x0, y0, x1, y1, x1 and y1
    exclusive) and ``rle``, compressed run lengths as COCO has them. Bytes of a name that are no text are written as
    ``\\xff``.
    """

    def __init__(self, folder: Path, data: DataSet) -> None:
        """Raises ModuleNotFoundError without pyarrow."""
        import pyarrow
        import pyarrow.parquet

        segment = pyarrow.struct(
            [
                ("category", pyarrow.string()),
                ("category_id", pyarrow.int32()),
                ("is_thing", pyarrow.bool_()),
                ("score", pyarrow.float64()),
                ("area", pyarrow.int64()),
                ("box", pyarrow.list_(pyarrow.int32(), 4)),
                ("rle", pyarrow.string()),
            ]
        )
        schema = pyarrow.schema(
            [
                ("picture", pyarrow.string()),
                ("height", pyarrow.int32()),
                ("width", pyarrow.int32()),
                ("approximate", pyarrow.bool_()),
                ("segments", pyarrow.list_(segment)),
            ],
            {"bundle": data.bundle},
        )
        self._batch_of: Callable[[list[dict[str, Any]]], Any] = lambda rows: pyarrow.RecordBatch.from_pylist(
            rows, schema
        )
        self._writer = pyarrow.parquet.ParquetWriter(folder / PARQUET, schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []

    def add(self, picture: Picture) -> None:
        """See :class:`Writer`."""
        height, width = picture.size
        segments = [
            {
                "category": item.category.name,
                "category_id": item.category.id,
                "is_thing": item.category.is_thing,
                "score": item.score,
                "area": item.bounds[0],
                "box": list(item.bounds[1]),
                "rle": item.counts,
            }
            for item in picture.segments
        ]
        name = os.fsencode(picture.name).decode("utf-8", "backslashreplace")
        row = {"picture": name, "height": height, "width": width, "approximate": picture.parts > 1}
        self._rows.append({**row, "segments": segments})
        if len(self._rows) == _ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(self._batch_of(self._rows))
            self._rows = []

    def close(self) -> None:
        """See :class:`Writer`."""
        self._flush()
        self._writer.close()


def check_parquet() -> None:
    """Raise ModuleNotFoundError without pyarrow, before anything is computed."""
    import pyarrow.parquet  # noqa: F401
