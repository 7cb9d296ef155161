"""`llie compare`: methods side by side.

    llie compare [METHOD…] PHOTO… [--recognizer R]    an HTML page: before, after, what R finds

METHOD is a name of `llie models`, or NAME=WEIGHTS: "reference", "released" or a file.
"""

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llie_core.cli.arguments import path, weights_name

DRAWING = ("IPython", "seaborn")  # that the module of the figures imports


def add(commands) -> None:
    """Add the subcommand."""
    compare = commands.add_parser(
        "compare", help="photographs before and after, and what a recognizer finds, as a page"
    )
    compare.add_argument(
        "words", nargs="+", metavar="METHOD or PHOTO",
        help="methods of llie models, each NAME or NAME=WEIGHTS with WEIGHTS as of llie enhance "
        "(default: the method of llie enhance), and photographs",
    )  # fmt: skip
    compare.add_argument("--data", type=path, help="a photograph")
    compare.add_argument(
        "--recognizer", action="append", default=[], metavar="R",
        help="one with weights of real images: retinaface, mtcnn, ssdlite, classifier; repeatable",
    )  # fmt: skip
    compare.add_argument("--html", type=path, help="default: beside the photograph, NAME-compared")
    compare.add_argument("--strength", type=float, default=1.0, help="as of llie enhance")
    compare.add_argument("--no-gate", action="store_true", help="as of llie enhance")
    compare.add_argument("--threshold", type=float, help="least score of a detection")
    compare.add_argument("--side", type=int, help="pixels to which longer sides are reduced")
    compare.add_argument("--device", default=None)
    compare.set_defaults(run=run)


@dataclass
class Named:
    """What the words of a command line name. methods: name as given → weights or None."""

    methods: dict[str, str | Path | None] = field(default_factory=dict)
    photos: list[Path] = field(default_factory=list)


def sorted_words(words: Sequence[str]) -> Named:
    """Methods and photographs.

    Raises:
        ValueError: a word that is neither.
    """
    from llie_core.models import MODELS
    from llie_core.names import unknown

    named = Named()
    for word in words:
        name, separator, weights = word.partition("=")
        if name in MODELS:
            if separator and not weights:
                raise ValueError(f"{word} names no weights: write {name}=FILE or {name}")
            named.methods[word] = weights_name(weights) if weights else None
        elif Path(word).exists() or Path(word).suffix:
            named.photos.append(Path(word))
        else:
            raise ValueError(f"no photograph {word}, and {unknown('enhancer', name, MODELS)}")
    return named


def run(options) -> int:
    """Compare as asked.

    Returns:
        The exit code: 1 where a photograph failed.

    Raises:
        ValueError, FileNotFoundError, ImportError: what cannot be done, in one line.
    """
    named = sorted_words(options.words)
    photos = [*named.photos, *([options.data] if options.data else [])]
    if not photos:
        raise ValueError("name a photograph to compare the methods on")
    return _photos(options, named.methods, photos)


def _photos(options, methods: dict, photos: list[Path]) -> int:
    """A page of photographs."""
    target = options.html or photos[0].with_name(f"{photos[0].stem}-compared.html")
    if target.suffix.lower() not in (".html", ".htm") or target.is_dir():
        raise ValueError(f"--html {target}: name a file that ends in .html")
    for photo in photos:
        if not photo.is_file():
            raise FileNotFoundError(f"{photo}: no such image")
    if not 0 <= options.strength <= 1:
        raise ValueError(f"--strength {options.strength} must lie in [0, 1]")
    if absent := [name for name in DRAWING if not importlib.util.find_spec(name)]:
        need = "install with: pip install 'llie-core[notebooks]'"
        raise ImportError(f"llie compare needs {', '.join(absent)}; {need}")
    from llie_core.before_after import SIDE, THRESHOLD, compare_photo, load_recognizer, page
    from llie_core.data.photos import read_photo
    from llie_core.files import problem_of, write_text

    models, device = _models(methods, options.device)
    recognizers = {name: load_recognizer(name).to(device) for name in options.recognizer}
    settings = {
        "strength": options.strength, "gate": not options.no_gate,
        "threshold": THRESHOLD if options.threshold is None else options.threshold,
        "side": SIDE if options.side is None else options.side,
    }  # fmt: skip
    compared = []
    for photo in photos:
        try:
            image = read_photo(photo).image.to(device)
        except Exception as error:  # decoders raise anything on odd images
            print(f"llie: {problem_of(photo, error)}", file=sys.stderr)
            continue
        compared.append(compare_photo(photo.name, image, models, recognizers, **settings))
        print(compared[-1].table())
    if compared:
        write_text(target, page(compared))
        print(target)
    return 1 if len(compared) < len(photos) else 0


def _models(methods: dict, device: str | None) -> tuple[dict, str]:
    """Name as given → model, on a device; by default the method of `llie enhance`."""
    from llie_core.cli.image_files import trained_model
    from llie_core.models.records import default_enhancer

    if not methods:
        name, weights = default_enhancer()
        methods = {name: weights}
    models = {}
    for word, weights in methods.items():
        models[word], device, _ = trained_model(word.partition("=")[0], weights, device)
    assert device is not None
    return models, device
