"""Every family of foundation models, with the names and image sizes of its tiny checkpoints."""

from __future__ import annotations

from neon_sim import registry
from neon_sim.policies.backbones.foundation.family import family_class
from neon_sim.policies.backbones.weights.catalogue import CATALOGUE

FAMILIES = tuple(registry.FAMILIES)


IMAGE_SIZES = {family: family_class(family).TINY_IMAGE_SIZE for family in FAMILIES}


# The first row of the catalogue of each.
NAMES = {f: next(row.name for row in CATALOGUE.values() if row.family == f) for f in FAMILIES}
