"""`llie enhance`, `darken`: images in, images out."""

from llie_core.cli import darken
from llie_core.cli.arguments import path


def add(commands) -> None:
    """Add this group's subcommands."""
    enhance = commands.add_parser(
        "enhance", help="enhance images with a method, or with a run's weights"
    )
    enhance.add_argument("--model", default="clahe", help="default: clahe; see llie models")
    enhance.add_argument(
        "--weights", type=path, help="weights.safetensors of a run, or the authors' checkpoint"
    )
    enhance.add_argument("--device", default=None)
    enhance.set_defaults(run=_enhance)
    dark = commands.add_parser(
        "darken", help="darken images: physically, to an exposure, or as others are degraded"
    )
    darken.add_options(dark)
    dark.set_defaults(run=_darken)
    for command in (enhance, dark):
        command.add_argument("source", type=path, help="an image, or a folder with its subfolders")
        command.add_argument("target", type=path, help="folder for the results (PNG)")


def _enhance(options) -> int:
    from llie_core.cli.image_files import each_image, find_images, trained_model
    from llie_core.data.images import read_image, write_image

    model, device = trained_model(options.model, options.weights, options.device)

    def write(image) -> None:
        pixels = read_image(image.path)[None].to(device)  # (1, 3, H, W)
        write_image(image.target, model.enhance(pixels)[0].cpu())

    images = find_images(options.source, options.target)
    failed = each_image(images, write, lambda image: image.path)
    print(f"{len(images) - failed} of {len(images)} images written to {options.target}")
    return 1 if failed else 0


def _darken(options) -> int:
    said, code = darken.run(options)
    print(said)
    return code
