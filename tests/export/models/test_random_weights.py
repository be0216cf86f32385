import math

import torch

from xsam_edge.export.models.random_weights import init_weights
from xsam_edge.export.models.xsam import XSam


def test_a_seed_names_the_weights(phi3):
    first, again, other = (init_weights(XSam(phi3.config), seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(not torch.equal(first[name], other[name]) for name in first if not name.endswith("logit_scale"))


def test_every_parameter_is_drawn(phi3):
    model = XSam(phi3.config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    state = init_weights(model, 0).state_dict()
    assert all(tensor.isfinite().all() and tensor.any() for tensor in state.values())
    assert state["segmentor.class_predictor.logit_scale"].item() == torch.tensor(math.log(1 / 0.07)).item()
    assert (state["llm.model.norm.weight"] - 1).abs().max() < 0.2
