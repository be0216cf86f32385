from __future__ import annotations

from pathlib import Path

from xsam_edge.runtime.bundle.manifest import read_manifest
from xsam_edge.runtime.device.transfers import transfers


def test_bytes_of_a_question(phi3_bundle: Path) -> None:
    manifest = read_manifest(phi3_bundle)
    model = manifest.settings.model
    planned = transfers(manifest, new_tokens=10, answer_tokens=4, conditions=2)
    vision, mask = manifest.settings.vision_input, manifest.settings.mask_input
    per_image = {item.tensor: item.nbytes for item in planned if item.per == "image"}
    assert per_image == {
        "pixel_values": 12 * vision.height * vision.width,
        "mask_pixel_values": 12 * mask.height * mask.width,
    }
    down = {(item.tensor, item.times): item.nbytes for item in planned if item.direction == "down"}
    assert down == {
        ("seg_hidden", 1): 4 * 10 * model.embed_size,
        ("next_ids", 1): 8,
        ("next_ids", 4): 8,
        ("seg_hidden", 4): 4 * model.embed_size,
        ("class_logits", 1): 4 * model.num_queries * 3,
        ("mask_logits", 1): 4 * model.mask_grid[0] * model.mask_grid[1],
    }
    assert not {item.tensor for item in planned} & {
        "image_embeds",
        "mask_features",
        "past_key.0",
        "new_key.0",
        "logits",
    }
    given = transfers(manifest, new_tokens=10, answer_tokens=0, conditions=2)
    assert "next_ids" not in {item.tensor for item in given} and all(item.times == 1 for item in given)
    every = transfers(manifest, 10, 0, 2, masks=model.num_queries)
    assert {item.times for item in every if item.tensor == "mask_logits"} == {model.num_queries}


def test_a_picture_goes_up_as_it_is_where_the_device_resizes_it(phi3_pixels_bundle: Path) -> None:
    planned = transfers(read_manifest(phi3_pixels_bundle), 10, 0, 1, size=(480, 640))
    assert {item.tensor: item.nbytes for item in planned if item.per == "image"} == {"picture": 3 * 480 * 640}
