"""What ``/openapi.json`` says of bodies, which are read by hand."""

from __future__ import annotations

from typing import Any

from xsam_edge.runtime.serve.fields import FIELDS, SEGMENTING
from xsam_edge.runtime.serve.questions import TALK
from xsam_edge.runtime.serve.replies import FORMATS

_MEANT = {
    "image": "the picture: a file, or text that is a data URI or an allowed URL",
    "scene": "the id of a picture that was sent before, in place of image",
    "model": "the name that /v1/models has; may be left out",
    "task": f"{', '.join(SEGMENTING)}; what is asked for tells it but for reason and caption",
    "prompt": "a phrase, or for reason a question or a sentence; several are one batch",
    "things": "categories to count one by one, with commas between or as a list of JSON",
    "stuff": "categories that are one region each, likewise",
    "form": "of categories: panoptic, instances or semantic",
    "boxes": "[[x0, y0, x1, y1], ...] in pixels of the picture",
    "box_labels": "a 1 for each box",
    "points": "[[x, y], ...] in pixels of the picture",
    "masks": "a picture of the region, of the same size, or run lengths as replies have them; several are taken",
    "similar": "of regions: everything that resembles them",
    "several": "of refer and reason: everything that scores enough",
    "threshold": "the score below which a thing is not there, 0 to 1, or official",
    "max_tokens": "of a caption",
    "mask_format": f"{', '.join(FORMATS)} (default: png)",
}


def _form() -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, repeated in FIELDS.items():
        text = {"type": "string"}
        fields[name] = {"type": "array", "items": text} if repeated else dict(text)
        fields[name]["description"] = _MEANT[name]
    fields["image"]["format"] = "binary"
    return {"type": "object", "properties": fields, "additionalProperties": False}


SEGMENTATIONS: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _form()}}}
}

COMPLETIONS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["messages"],
                    "properties": {
                        "model": {"type": "string"},
                        "messages": {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "object"}},
                        "scene": {"type": "string", "description": "in place of an image_url"},
                        "task": {"type": "string", "enum": list(TALK), "default": "chat"},
                        "stream": {"type": "boolean", "default": False},
                        "stream_options": {"type": "object"},
                        "max_tokens": {"type": "integer", "minimum": 1},
                        "threshold": {"description": "of captions, as of /v1/images/segmentations"},
                        "mask_format": {"type": "string", "enum": list(FORMATS), "description": "of captions"},
                    },
                }
            }
        },
    }
}
