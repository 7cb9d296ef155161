"""Models, losses, metrics, data, recipes and reports of the low-light enhancement companion."""

__version__ = "0.1.0"
