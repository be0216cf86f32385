"""``python -m xsam_edge.export.demo.training``: train the demo model anew."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from xsam_edge.export.config.variants import get_variant
from xsam_edge.export.demo.training.loop import Job, train
from xsam_edge.export.demo.training.recipe import Recipe


def main() -> None:
    """Entry point."""
    recipe = Recipe()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for weights, inits and curve")
    parser.add_argument("--minutes", type=float, default=recipe.minutes, help="budget (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="end after so many steps instead")
    parser.add_argument("--workers", type=int, default=recipe.workers, help="processes (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=recipe.batch, help="pictures of each (default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; with cuda give --workers 1")
    parser.add_argument("--seed", type=int, default=recipe.seed, help="of weights and exercises (default: %(default)s)")
    parser.add_argument("--start", type=Path, metavar="FILE", help="begin with these weights")
    parser.add_argument("--lesson", type=int, choices=(0, 1), help="only this one (default: one after the other)")
    parser.add_argument("--rate", type=float, default=1.0, help="factor on the learning rates (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=recipe.first_seed, help="of scenes (default: %(default)s)")
    options = parser.parse_args()
    chosen = {name: getattr(options, name) for name in ("minutes", "steps", "workers", "batch", "seed", "first_seed")}
    chosen["matrix_rate"], chosen["other_rate"] = options.rate * recipe.matrix_rate, options.rate * recipe.other_rate
    if options.lesson is not None:
        chosen["second_lesson"] = 0.0 if options.lesson else 2.0
    train(Job(get_variant("shapes"), replace(recipe, **chosen), options.output, options.device, options.start))


if __name__ == "__main__":
    main()
