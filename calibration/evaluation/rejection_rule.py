"""A bundle's own rule of rejection: chosen by the scores of absent things, and written into its manifest."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from xsam_edge.calibration.data.samples import DataSet, Phrase, Task
from xsam_edge.calibration.evaluation.rejection import Scores, needed
from xsam_edge.calibration.evaluation.run import asked_by
from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, Manifest, read_manifest
from xsam_edge.runtime.bundle.settings import Referring, RejectionRule
from xsam_edge.runtime.bundle.typed_json import load_json
from xsam_edge.runtime.errors import BundleError, InputError, XSamError


def check_data(data: DataSet, tasks: Sequence[Task], limit: int | None, rate: float) -> None:
    """Raise InputError where data ask for too few absent things for a rate of false alarms; opens no image."""
    pictures = data.pictures(tasks, limit)
    absent = Counter(
        asked_by(ask) for picture in pictures for ask in picture.asks if isinstance(ask, Phrase) and ask.mask is None
    )
    _check_counts(absent, data.name, rate)


def check_writable(bundle: Path) -> None:
    """Raise InputError where nothing can be written into a bundle's folder."""
    try:
        with tempfile.TemporaryFile(dir=bundle):
            pass
    except OSError as error:
        raise InputError(
            f"{bundle} cannot be written ({error.strerror}), which a threshold would be; copy the bundle and measure "
            "the copy"
        ) from None


def choose_rules(scores: Mapping[Referring, Scores], name: str, rate: float) -> dict[Referring, RejectionRule]:
    """The least thresholds at which a share of at most ``rate`` of the absent things is found.

    Args:
        scores: by the method that was asked; one that was asked for nothing absent gets no rule.
        name: of the data, for errors.
        rate: between 0 and 1.

    Raises:
        InputError: too few absent things, or more of them score 1 than may be found.
    """
    absent = {method: scored for method, scored in scores.items() if len(scored.absent)}
    _check_counts({method: len(scored.absent) for method, scored in absent.items()}, name, rate)
    rules: dict[Referring, RejectionRule] = {}
    for method, scored in absent.items():
        threshold = scored.least_threshold(rate)
        if threshold is None:
            alarms = scored.at(1.0).false_alarms
            raise InputError(
                f"{alarms.count} of {alarms.of} absent things of {method} in {name} score 1, as high as anything can: "
                f"no threshold keeps false alarms to {rate:g}; take a rate of at least {alarms.rate:g}"
            )
        rules[method] = RejectionRule(threshold, rate, len(scored.absent))
    return rules


def write_rules(bundle: Path, measured: Manifest, rules: Mapping[Referring, RejectionRule]) -> None:
    """Put rules into a bundle's manifest, in place of those of the same methods; all else stays as it is.

    The manifest is replaced at once: who reads it finds the old or the new one.

    Raises:
        InputError: the bundle is no longer the ``measured`` one.
        XSamError: the manifest cannot be written.
        BundleError: it cannot be read.
    """
    path = bundle / MANIFEST_FILE
    if _without_rules(read_manifest(bundle)) != _without_rules(measured):
        raise InputError(f"{path} was changed while the bundle was measured, and is left alone; measure it again")
    content = load_json(path, BundleError)
    assert isinstance(content, dict), "a manifest was read of it"
    settings = content["settings"]
    settings["rejection"] = {
        **(settings.get("rejection") or {}),
        **{method: dataclasses.asdict(rule) for method, rule in rules.items()},
    }
    _replace(path, json.dumps(content, indent=1) + "\n")


def _check_counts(absent: Mapping[Referring, int], name: str, rate: float) -> None:
    if not absent:
        raise InputError(
            f"{name} asks for nothing that is absent, by which a threshold is chosen; take shapes, gRefCOCO, or data "
            'of your own with records of "no_target": true'
        )
    least = needed(rate)
    for method, count in absent.items():
        if count < least:
            raise InputError(
                f"{name} asks for {count} absent thing{'s'[: count != 1]} in {method}; a rate of {rate:g} needs at "
                f"least {least}: take more data, another --task or a higher rate"
            )


def _without_rules(manifest: Manifest) -> Manifest:
    return dataclasses.replace(manifest, settings=dataclasses.replace(manifest.settings, rejection=None))


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(3)}")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(path, partial)
        partial.replace(path)
    except OSError as error:
        raise XSamError(f"{path} cannot be written ({error.strerror or error}); it is as it was") from None
    finally:
        partial.unlink(missing_ok=True)
