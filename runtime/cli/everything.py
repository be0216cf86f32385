"""``--everything``: names for who names nothing."""

from __future__ import annotations

EVERYTHING_HELP = (
    "names for who names nothing: coco (80 things, 53 kinds of stuff; the default), lvis (1,203 things), or a file "
    "with a name a line, 'stuff' in front of those that are stuff; more names than a prompt holds are asked in parts, "
    "and those that were found once more together, which is approximate"
)
