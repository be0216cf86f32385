"""Labelling a set of pictures: those that the journal lacks, one after the other."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xsam_edge.runtime.bundle.manifest import MANIFEST_FILE, read_manifest
from xsam_edge.runtime.errors import ImageError, InputError
from xsam_edge.runtime.label.asks import Asks
from xsam_edge.runtime.label.journal import Journal
from xsam_edge.runtime.label.labeller import Job, Labeller, Options
from xsam_edge.runtime.label.pictures import Pictures
from xsam_edge.runtime.progress import Progress, Step, silent

Records = Iterator[Mapping[str, Any]]
MakeRecords = Callable[[Iterable[Job]], Records]


@dataclass(frozen=True)
class Counts:
    """What a run did: pictures that were labelled, and those that could not be."""

    labelled: int
    damaged: int


def bundle_hash(bundle: Path) -> str:
    """The SHA-256 of a bundle's manifest, which binds all its files. Raises BundleError for what is no bundle."""
    read_manifest(bundle)
    return hashlib.sha256((bundle / MANIFEST_FILE).read_bytes()).hexdigest()


def header(bundle: str, asks: Asks, options: Options) -> dict[str, Any]:
    """What answers follow from: the hash of the bundle, what is asked, and how."""
    return {"journal": "xsam-label 1", "bundle": bundle, **asks.header, **options.to_json()}


def missing(journal: Journal, pictures: Pictures) -> array[int]:
    """The places of the pictures that have to be labelled; those that could not be before are tried again."""
    return array("q", (place for place in range(len(pictures)) if not journal.has(place)))


def jobs(places: Iterable[int], pictures: Pictures, asks: Asks) -> Iterator[Job]:
    """What there is to do at these places."""
    for place in places:
        name = pictures.names[place]
        yield Job(place, name, pictures.path(name), asks.of(place))


def check_asks(labeller: Labeller, places: Iterable[int], asks: Asks) -> None:
    """Raise InputError for an ask that the model cannot be asked, before any is."""
    seen = None
    for place in places:
        ask = asks.of(place)
        if ask is not seen:
            labeller.parts(ask)
        seen = ask


def fill(
    journal: Journal,
    pictures: Pictures,
    records: Records,
    total: int,
    progress: Progress = silent,
    *,
    strict: bool = False,
) -> Counts:
    """Take records into the journal as they come.

    Args:
        journal: of the pictures.
        pictures: those that are labelled.
        records: one for each picture that is to do, in any order.
        total: how many these are.
        progress: is told each picture.
        strict: the first picture that could not be labelled ends the run, with its error.

    Raises:
        ImageError: with ``strict``; or no picture of all could be labelled, with the error of the first.
    """
    labelled = damaged = 0
    first = ""
    progress(Step("label", 0, total, "pictures"))
    for record in records:
        journal.add(record)
        if "error" in record:
            damaged += 1
            first = first or record["error"]
            if strict:
                raise ImageError(f"{record['picture']}: {record['error']}")
        else:
            labelled += 1
        progress(Step("label", labelled + damaged, total, "pictures", _in_a_line(record["picture"])))
    if not journal.done:
        raise InputError(f"none of {len(pictures)} pictures could be labelled; the first: {first}")
    return Counts(labelled, damaged)


def _in_a_line(name: str) -> str:
    """A name without what would break a terminal's line."""
    return "".join(character if character.isprintable() else "?" for character in name)
