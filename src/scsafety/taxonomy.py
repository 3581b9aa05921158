"""The three dimensions and 24 sub-dimensions, read from `taxonomy.toml`, their one source."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

import msgspec


class Dimension(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    zh: str
    en: str
    definition: str
    definition_en: str


class SubDimension(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    dimension: str  # id of its dimension
    zh: str
    en: str
    pairs: int  # in the full bank: its weight in every score
    definition: str
    includes: str
    excludes: str
    definition_en: str
    includes_en: str
    excludes_en: str


class Taxonomy(msgspec.Struct, frozen=True, rename={"dimensions": "dimension", "sub_dimensions": "sub_dimension"}):
    dimensions: tuple[Dimension, ...]
    sub_dimensions: tuple[SubDimension, ...]


@cache
def taxonomy() -> Taxonomy:
    text = resources.files("scsafety").joinpath("taxonomy.toml").read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text), Taxonomy)


def dimensions() -> tuple[Dimension, ...]:
    return taxonomy().dimensions


def sub_dimensions() -> tuple[SubDimension, ...]:
    """All 24, in the order of the taxonomy."""
    return taxonomy().sub_dimensions


@cache
def _by_id() -> dict[str, SubDimension]:
    return {sub.id: sub for sub in sub_dimensions()}


def is_sub_dimension(name: str) -> bool:
    return name in _by_id()


def sub_dimension(name: str) -> SubDimension:
    """The sub-dimension of that id; KeyError if there is none."""
    return _by_id()[name]


def dimension_of(sub_dimension_id: str) -> str:
    return sub_dimension(sub_dimension_id).dimension


def weights() -> dict[str, int]:
    """Pairs of the full bank by sub-dimension (2,456 in all)."""
    return {sub.id: sub.pairs for sub in sub_dimensions()}
