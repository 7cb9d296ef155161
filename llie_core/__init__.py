"""Low-light enhancement, and what it does for recognition: models, losses, metrics, studies."""

import os

# Read when torch starts: how long a waiting OpenMP thread spins before it sleeps. On two cores a
# step of DRGN takes twice as long without spinning; and with the 300,000 turns of the default, two
# jobs that share the cores take ten times as long.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

__version__ = "0.1.0"
