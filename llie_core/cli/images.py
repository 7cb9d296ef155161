"""`llie enhance`, `darken`: images in, images out."""

from llie_core.cli import darken, enhance
from llie_core.cli.arguments import folder, path


def add(commands) -> None:
    """Add this group's subcommands."""
    one = commands.add_parser("enhance", help="enhance a photograph, a video, a folder, or a pipe")
    enhance.add_options(one)
    one.set_defaults(run=enhance.run)
    dark = commands.add_parser(
        "darken", help="darken images: physically, to an exposure, or as others are degraded"
    )
    darken.add_options(dark)
    dark.add_argument("source", type=path, help="an image, or a folder with its subfolders")
    dark.add_argument("target", type=folder, help="folder for the results (PNG)")
    dark.set_defaults(run=_darken)


def _darken(options) -> int:
    said, code = darken.run(options)
    print(said)
    return code
