"""`llie compare`: methods side by side.

    llie compare [METHOD…] PHOTO… [--recognizer R]    an HTML page: before, after, what R finds
    llie compare METHOD… --data SET                   a table, charts and images of a test set

METHOD is a name of `llie models`, or NAME=WEIGHTS: "reference", "released" or a file; the
checkpoint of a network that spandrel recognises, or NAME=CHECKPOINT; on a set also a folder of
another program's images, or NAME=FOLDER.
"""

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from llie_core.cli.arguments import add_device, path, weights_name

CHECKPOINTS = (".pth", ".pt", ".ckpt", ".pkl", ".safetensors", ".bin")
DRAWING = ("IPython", "seaborn")  # that the module of the figures imports
# Options of the two uses and what they are if not given.
OF_PHOTOS = {"recognizer": [], "strength": 1.0, "no_gate": False, "threshold": None, "side": None}
OF_SETS = {"split": "", "count": 0, "protocol": []}


def add(commands) -> None:
    compare = commands.add_parser(
        "compare", help="methods side by side, on photographs or on a test set, as a page"
    )
    compare.add_argument(
        "words", nargs="+", metavar="METHOD or PHOTO",
        help="methods of llie models, each NAME or NAME=WEIGHTS with WEIGHTS as of llie enhance "
        "(default: the method of llie enhance); checkpoints of other networks; folders of other "
        "programs' images; photographs",
    )  # fmt: skip
    compare.add_argument(
        "--data", metavar="SET", help="a built-in set, NAME=FOLDER of another of llie datasets, a "
        "folder of images or of pairs in low/ and high/; or a photograph",
    )  # fmt: skip
    compare.add_argument("--split", help="of the set; default: test")
    compare.add_argument("--count", type=int, help="images of the set, evenly over it")
    compare.add_argument(
        "--protocol", action="append", metavar="ID",
        help="of protocols.toml, besides PSNR, SSIM, LPIPS and NIQE; repeatable",
    )  # fmt: skip
    compare.add_argument(
        "--recognizer", action="append", metavar="R",
        help="one with weights of real images: retinaface, mtcnn, ssdlite, classifier; repeatable",
    )  # fmt: skip
    compare.add_argument("--html", type=path, help="default: beside the photograph, NAME-compared, "
                         "or SET-compared here; of a set with CSV files beside it")  # fmt: skip
    compare.add_argument("--strength", type=float, help="as of llie enhance")
    compare.add_argument("--no-gate", action="store_true", help="as of llie enhance")
    compare.add_argument("--threshold", type=float, help="least score of a detection")
    compare.add_argument("--side", type=int, help="pixels to which longer sides are reduced")
    add_device(compare)
    compare.set_defaults(run=run, **OF_PHOTOS, **OF_SETS)


@dataclass
class Named:
    """What the words of a command line name. methods: word → (model, weights or None); outputs:
    word → folder of another program's images."""

    methods: dict[str, tuple[str, str | Path | None]] = field(default_factory=dict)
    outputs: dict[str, Path] = field(default_factory=dict)
    photos: list[Path] = field(default_factory=list)


def sorted_words(words: Sequence[str]) -> Named:
    """Methods, other programs' images, and photographs.

    Raises:
        ValueError: a word that is neither.
    """
    from llie_core.models import list_enhancers
    from llie_core.names import unknown

    named, known = Named(), list_enhancers()
    for word in words:
        name, separator, weights = word.partition("=")
        if name in known:
            if separator and not weights:
                raise ValueError(f"{word} names no weights: write {name}=FILE or {name}")
            named.methods[word] = (name, weights_name(weights) if weights else None)
        elif (file := Path(weights or word)).is_dir():
            named.outputs[word] = file
        elif file.suffix.lower() in CHECKPOINTS:
            named.methods[word] = ("checkpoint", file)
        elif Path(word).exists() or Path(word).suffix:
            named.photos.append(Path(word))
        else:
            raise ValueError(f"no photograph {word}, and {unknown('enhancer', name, known)}")
    return named


def run(options) -> int:
    """Compare as asked.

    Returns:
        The exit code: 1 where a photograph failed.

    Raises:
        ValueError, FileNotFoundError, ImportError: what cannot be done, in one line.
    """
    named = sorted_words(options.words)
    if options.data and not Path(options.data).is_file():
        return _set(options, named)
    photos = [*named.photos, *([Path(options.data)] if options.data else [])]
    for folder in named.outputs:
        raise ValueError(
            f"{folder}: write --data {folder} to compare on its images; as images of another "
            "program it needs their set (--data)"
        )
    if not photos:
        raise ValueError("name a photograph to compare the methods on, or a set (--data)")
    return _photos(options, named.methods, photos)


def _set(options, named: Named) -> int:
    """A table in the terminal, a page and CSV files of a test set."""
    if named.photos:
        raise ValueError(f"{named.photos[0]}: on a set, name methods only, no photograph")
    _refuse(options, OF_PHOTOS, "of photographs; leave it out with a set")
    if options.count < 0:
        raise ValueError(f"--count {options.count}: it must not be negative")
    _check_page(options.html)
    from tqdm import tqdm

    from llie_core.data.wrappers import at_most
    from llie_core.files import problem_of, write_rows, write_text
    from llie_core.side_by_side import measure, open_set, protocols_for, ranking

    name, data = open_set(options.data, options.split)
    data = at_most(data, options.count)
    protocols, absent = protocols_for(data, options.protocol)
    methods, device = _methods(named, name, options.device)
    found, failed = [], 0
    for method in tqdm(methods, disable=not sys.stderr.isatty(), unit="method"):
        try:
            found.append(measure(method, data, protocols, device))
        except Exception as error:  # methods raise anything; the others go on
            if method.label == "identity":
                raise
            print(f"llie: {problem_of(method.label, error)}", file=sys.stderr)
            failed += 1
    result = ranking(name, options.split, data, protocols, absent, found, device)
    page = options.html or Path(f"{name}-compared.html")
    print(result.table())
    write_rows(page.with_suffix(".csv"), result.lines())
    write_rows(page.with_name(f"{page.stem}-images.csv"), result.image_lines())
    write_text(page, result.page())
    print(f"{page}, {page.stem}.csv, {page.stem}-images.csv")
    return 1 if failed else 0


def _methods(named: Named, dataset: str, device: str | None) -> tuple[list, str]:
    """The input and what is named, loaded, and the device."""
    from llie_core.before_after import title_of_method
    from llie_core.cli.image_files import trained_model, weights_hash
    from llie_core.models import create_enhancer
    from llie_core.side_by_side import Method

    identity, device, _ = trained_model("identity", None, device)
    methods = [Method("identity", "input", identity)]
    for word, (name, given) in named.methods.items():
        if word == "identity":
            continue
        model, device, weights = trained_model(name, given, device)
        kind = "file" if isinstance(weights, Path) else weights or ""
        sha256 = weights_hash(name, weights)
        methods.append(Method(word, title_of_method(word), model, None, kind, sha256))
    for word, folder in named.outputs.items():
        own = folder / dataset if (folder / dataset).is_dir() else folder
        title = word.partition("=")[0] if "=" in word else folder.resolve().name
        methods.append(Method(word, title, create_enhancer("identity"), own, "external"))
    if len(methods) < 2:
        raise ValueError("name a method to compare")
    if len({method.title for method in methods}) < len(methods):
        raise ValueError("two methods have one title; name one NAME=FILE")
    return methods, device


def _refuse(options, others: dict, why: str) -> None:
    """Refuse an option that would change nothing."""
    for name, default in others.items():
        if getattr(options, name) != default:
            raise ValueError(f"--{name.replace('_', '-')} is {why}")


def _check_page(target: Path | None) -> None:
    """Refuse what cannot be written before anything is computed."""
    if target and (target.suffix.lower() not in (".html", ".htm") or target.is_dir()):
        raise ValueError(f"--html {target}: name a file that ends in .html")
    if blocking := [str(part) for part in (target.parents if target else ()) if part.is_file()]:
        raise ValueError(f"--html {target}: {blocking[0]} is a file, no folder")
    if absent := [name for name in DRAWING if not importlib.util.find_spec(name)]:
        need = "install with: pip install 'llie-core[notebooks]'"
        raise ImportError(f"llie compare needs {', '.join(absent)}; {need}")


def _photos(options, methods: dict, photos: list[Path]) -> int:
    """A page of photographs."""
    _refuse(options, OF_SETS, "of test sets; name one: --data SET")
    target = options.html or photos[0].with_name(f"{photos[0].stem}-compared.html")
    _check_page(target)
    for photo in photos:
        if not photo.is_file():
            raise FileNotFoundError(f"{photo}: no such image")
    if not 0 <= options.strength <= 1:
        raise ValueError(f"--strength {options.strength} must lie in [0, 1]")
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
        print(f"{photo}\n{compared[-1].table()}")
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
        methods = {name: (name, weights)}
    models = {}
    for word, (name, weights) in methods.items():
        models[word], device, _ = trained_model(name, weights, device)
    assert device is not None
    return models, device
