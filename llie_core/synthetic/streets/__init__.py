"""Street scenes drawn by a program, in daylight and at night, with all labels: `builtin-streets`.

scene.py      the layout: every object and its place, no pixels
paint.py      the layout as surfaces: colours, depth, labels (canvas.py, textures.py, bodies.py,
              vehicles.py, roadside.py)
light.py      the surfaces in daylight and at night: sun, sky, lamps, noise
sets.py       the data sets
"""

from llie_core.synthetic.streets.bodies import STREET_JOINTS
from llie_core.synthetic.streets.sets import (
    STREET_CLASSES,
    STREET_OBJECTS,
    STREET_PALETTE,
    BuiltinStreets,
    BuiltinStreetsPose,
    subset_of,
)

__all__ = [
    "STREET_CLASSES",
    "STREET_JOINTS",
    "STREET_OBJECTS",
    "STREET_PALETTE",
    "BuiltinStreets",
    "BuiltinStreetsPose",
    "subset_of",
]
