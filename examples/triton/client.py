"""Masks of phrases from a Triton server: python client.py localhost:8000 street.jpg "the man ironing" "a dog"."""

import sys

import numpy as np
import tritonclient.http as triton

address, image, *phrases = sys.argv[1:]
with open(image, "rb") as file:
    content = file.read()
tensors = {"TASK": [b"refer"], "IMAGE": [content], "PROMPTS": [phrase.encode() for phrase in phrases]}
inputs = [triton.InferInput(name, [1, len(values)], "BYTES") for name, values in tensors.items()]
for tensor, values in zip(inputs, tensors.values(), strict=True):
    tensor.set_data_from_numpy(np.array([values], np.object_))
outputs = [triton.InferRequestedOutput(name) for name in ("MASKS", "SCORES", "PROMPT_IDS")]
with triton.InferenceServerClient(address) as client:
    answer = client.infer("xsam", inputs, outputs=outputs)
masks, scores, asked = (answer.as_numpy(output.name())[0] for output in outputs)
for mask, score, prompt in zip(masks, scores, asked, strict=True):
    print(f"{phrases[prompt]}: {score:.2f}, {mask.sum()} pixels of {mask.shape[1]} x {mask.shape[0]}")
