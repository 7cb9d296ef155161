"""`llie enhance`: photographs of any kind and size, and videos, with a strength and a gate
(models/gate.py).

A folder's results keep its tree; `.enhanced.jsonl` there has a line an image, written after the
image, so that the same command goes on where it was stopped.
"""

import os
import sys
import tempfile
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path

from llie_core.cli.arguments import add_device, path, weights_name
from llie_core.names import listed

RECORD = ".enhanced.jsonl"
END = "-enhanced"  # of the name of a result beside its source
PIPE = Path("-")
REPLACE = "--overwrite replaces it"
VIDEO_BRANDS = (b"iso", b"mp4", b"M4V", b"qt ")  # of MP4 and MOV; HEIC has the same header
HEIC_BRANDS = tuple(b"ftyp" + brand for brand in (b"he", b"mi", b"ms"))
FORMATS = ("png", "jpg", "webp", "tif")
WORKER_MEMORY = 2 * 2**30  # bytes that one image at a time may take


def add(commands) -> None:
    about = "enhance a photograph, a video, a folder, or a pipe"
    command = commands.add_parser("enhance", help=about)
    command.set_defaults(run=run, resumes=True)
    command.add_argument("source", type=path, help="an image, a video, a folder with its "
                         "subfolders, or -")  # fmt: skip
    command.add_argument(
        "target", type=path, nargs="?",
        help="an image file (PNG, JPEG, WebP, TIFF by its suffix), a video (MP4, MOV, MKV, "
        "WebM), a folder, or -; default: beside the source, NAME-enhanced",
    )  # fmt: skip
    command.add_argument("--model", help="default: the one that docs/DEFAULT.md chooses; see "
                         "llie models")  # fmt: skip
    command.add_argument(
        "--checkpoint", type=path, metavar="FILE",
        help="checkpoint of RetinexFormer, HVI-CIDNet or another network that spandrel recognises",
    )  # fmt: skip
    command.add_argument(
        "--weights", type=weights_name, metavar="WEIGHTS",
        help="reference (shipped with the project), released (after llie weights fetch), another "
        "name of llie weights list, the weights.safetensors of a run, or the authors' checkpoint; "
        "default: reference",
    )  # fmt: skip
    command.add_argument(
        "--strength", type=float, default=1.0, help="0 the image as it is … 1 (default)"
    )
    command.add_argument(
        "--no-gate", action="store_true",
        help="do not lower the strength where pixels would clip, or where an image that is bright "
        "already would change so much that its PSNR to itself is below 30 dB",
    )  # fmt: skip
    command.add_argument(
        "--format",
        choices=FORMATS,
        help="of results without a named file: in a folder or pipe (default: png), beside an image",
    )
    command.add_argument(
        "--overwrite", action="store_true", help="replace images and videos that are there already"
    )
    command.add_argument("--workers", type=int, help="images at a time; default: one a core")
    add_device(command)


def run(options) -> int:
    """Enhance as asked.

    Returns:
        The exit code: 1 where an image failed.

    Raises:
        ValueError, FileNotFoundError: what cannot be done, in one line.
    """
    if not 0 <= options.strength <= 1:
        raise ValueError(f"--strength {options.strength} must lie in [0, 1]")
    if options.workers is not None and options.workers < 1:
        raise ValueError(f"--workers {options.workers} must be 1 or more")
    if PIPE in (options.source, options.target):
        return _pipe(options)
    suffixed = options.target is not None and options.target.suffix
    if options.format and suffixed and not options.source.is_dir():
        raise ValueError(f"--format: the suffix of {options.target} says the format; leave it out")
    if options.target is None:
        options.target = _beside(options.source, options.format)
    suffix = options.target.suffix.lower()
    if options.source.is_dir() or options.target.is_dir() or not suffix:
        return _folder(options)
    return _file(options, options.source, options.target)


def _beside(source: Path, kind: str | None) -> Path:
    """Where the result goes when no target is named."""
    from llie_core.data.photos import KINDS
    from llie_core.data.videos import is_video, written_name

    if source.is_dir():
        named = source if source.name not in ("", "..") else source.resolve()
        return named.with_name(f"{named.name}{END}")
    if is_video(source):
        return source.with_name(written_name(f"{source.stem}{END}{source.suffix}"))
    suffix = source.suffix if source.suffix.lower() in KINDS else ".png"
    return source.with_name(f"{source.stem}{END}{f'.{kind}' if kind else suffix}")


def _pipe(options) -> int:
    """From standard input, to standard output, or both; messages go to standard error."""
    from llie_core.data.videos import is_video

    source, target = options.source, options.target or PIPE
    if target == PIPE and sys.stdout is None:
        raise ValueError("standard output is closed; name a file to write")
    if source.is_file() and is_video(source):
        raise ValueError(f"{source}: a video does not go through a pipe; name a file to write")
    if source.is_dir():
        raise ValueError(f"{source}: a folder does not go through a pipe; name a folder to write")
    if target.is_dir() or not (target == PIPE or target.suffix):
        raise ValueError(f"{target}: what comes from a pipe has no name; name a file")
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder, f"out.{options.format or 'png'}") if target == PIPE else target
        if source == PIPE:
            content = sys.stdin.buffer.read()
            if not content:
                raise ValueError("standard input is empty: pipe an image into llie enhance -")
            if content[4:8] == b"ftyp" and content[8:11] in VIDEO_BRANDS:
                raise ValueError("standard input is a video, which needs to be a file")
            source = Path(folder, "in.heic" if content[4:10] in HEIC_BRANDS else "in")
            source.write_bytes(content)
        try:
            code = _file(options, source, written, target, sys.stderr)
        except ValueError as error:
            raise ValueError(str(error).replace(str(source), "standard input")) from error
        if target == PIPE:
            sys.stdout.buffer.write(written.read_bytes())
            sys.stdout.buffer.flush()
    return code


def _file(options, source: Path, target: Path, named: Path | None = None, stream=None) -> int:
    """One image or video into one file; named: the target in messages."""
    from llie_core.data import photos, videos

    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such image or folder")
    if target.exists() and target.samefile(source):
        raise ValueError(f"{target}: the result would replace its source; name another file")
    word, kinds = ("video", videos.KINDS) if videos.is_video(source) else ("image", photos.KINDS)
    if target.suffix.lower() not in kinds:
        raise ValueError(
            f"{target}: {source} is {'a' if word == 'video' else 'an'} {word}; "
            f"written are {', '.join(kinds)}"
        )
    if target.exists() and not (options.overwrite or named == PIPE):
        raise ValueError(f"{target} exists already; {REPLACE}")
    enhance = _Enhance(options)
    said = enhance(source, target)
    print(f"{named or target}: {enhance.title}{said and f', {said}'}", file=stream or sys.stdout)
    return 0


def _folder(options) -> int:
    """An image or video, or those of a folder, into a folder."""
    from llie_core.cli.image_files import check_own, each_image, each_in_turn, find_images
    from llie_core.data.photos import readable
    from llie_core.data.videos import READ, can_read_videos, is_video

    if options.target.is_file():
        raise ValueError(f"{options.target} is a file; name a folder to write into")
    suffix = f".{options.format or 'png'}"
    suffixes = (*readable(), *(READ if can_read_videos() or options.source.is_file() else ()))
    images = _own_results_left_out(find_images(options.source, options.target, suffixes, suffix))
    if not options.overwrite:
        check_own(images, options.target / RECORD, REPLACE)
    for earlier in _named_otherwise(images, suffix):
        print(f"llie: {earlier}: from before two images shared its name; remove it",
              file=sys.stderr)  # fmt: skip
    enhance = _Enhance(options)
    with _record(options, enhance) as (left, note):

        def write(image) -> str:
            said = enhance(image.path, image.target)
            note(image)
            return said and f"{image.name}: {said}"

        todo = [image for image in images if left(image)]
        photos = [image for image in todo if not is_video(image.path)]
        workers = min(options.workers or _workers(), max(len(photos), 1))
        with _threads(workers):
            failed = each_image(photos, write, lambda image: image.path, workers)
        videos = (image for image in todo if is_video(image.path))
        failed += each_in_turn(videos, write, lambda image: image.path)
    done = f", {len(images) - len(todo)} of them before" if len(todo) < len(images) else ""
    kind = "images and videos" if any(is_video(image.path) for image in images) else "images"
    print(f"{len(images) - failed} of {len(images)} {kind} written to {options.target}{done}")
    return 1 if failed else 0


def _own_results_left_out(images: list) -> list:
    """The images without NAME-enhanced beside NAME, which an earlier command wrote by default."""
    stems = {image.path.with_suffix("") for image in images}
    own = [
        image for image in images
        if image.path.stem.endswith(END)
        and image.path.with_name(image.path.stem.removesuffix(END)) in stems
    ]  # fmt: skip
    if own:
        names = listed([image.name for image in own])
        print(f"llie: passed over, as results of earlier commands: {names}", file=sys.stderr)
    return [image for image in images if image not in own]


def _named_otherwise(images: list, suffix: str) -> list[Path]:
    """Results of a.jpg by the name a.png, from before a.png lay beside it: now it is a.jpg.png."""
    now = {image.target for image in images}
    whole = (x for x in images if x.target.name == f"{x.path.name}{suffix}")
    before = {x.target.with_name(f"{x.path.stem}{suffix}") for x in whole} - now
    # Path.exists raises for a name that is too long; writing that image will say so.
    return sorted(target for target in before if os.path.exists(target))  # noqa: PTH110


class _Enhance:
    """The model of a command line: called with a file and its target, it says of a video what it
    did, and of an image where that was not all that was asked."""

    def __init__(self, options):
        from llie_core.cli.image_files import trained_model
        from llie_core.models import model_spec
        from llie_core.models.records import default_enhancer, spoiling

        name, weights = options.model, options.weights
        if options.checkpoint:
            if name or weights:
                raise ValueError(
                    "--checkpoint says which model it is; leave out --model, --weights"
                )
            name, weights = "checkpoint", options.checkpoint
        if name is None:
            name, best = default_enhancer()
            weights = weights or best
        if model_spec(name).kind == "darkener":
            raise ValueError(f"{name} darkens images: llie darken --model {name}")
        self.model, self.device, self.weights = trained_model(name, weights, options.device)
        self.name = name
        self.title = getattr(self.model, "architecture", model_spec(name).title)
        self.strength, self.gate = options.strength, not options.no_gate
        # One image at a time on a GPU: its memory is less, and one fills it.
        self.alone = nullcontext() if self.device == "cpu" else threading.Lock()
        if self.weights and (spoilt := spoiling(name, str(self.weights))):
            what = f"its {self.weights} weights spoil photographs"
            print(f"llie: {name}: {what} ({spoilt}; docs/DEFAULT.md)", file=sys.stderr)

    def __call__(self, source: Path, target: Path) -> str:
        from llie_core.data.photos import read_photo, write_photo
        from llie_core.data.videos import is_video
        from llie_core.models.gate import enhance_gated

        if is_video(source):
            from llie_core.cli.video import enhance_video

            how = (self.strength, self.gate, self.title)
            return enhance_video(self.model, self.device, source, target, *how)
        photo = read_photo(source)
        with self.alone:
            x = photo.image[None].to(self.device)  # (1, 3, H, W)
            result = enhance_gated(self.model, x, self.strength, self.gate)
            image = result.image[0].cpu()
        write_photo(target, image, photo)
        weaker = f"strength {result.strength:.2f}: {result.reason}" if result.reason else ""
        return ", ".join(filter(None, (photo.left_out, weaker)))

    def request(self, options) -> str:
        """Hash of what the results depend on besides the images: options, weights and code."""
        from llie_core.cli.image_files import weights_hash
        from llie_core.data.photos import read_photo
        from llie_core.data.videos import rewrite_video
        from llie_core.engine.reuse import code
        from llie_core.hashing import content_hash
        from llie_core.models.gate import enhance_gated
        from llie_core.models.video import Steady

        weights = weights_hash(self.name, self.weights)
        asked = [self.name, weights, self.strength, self.gate, options.format]
        used = (enhance_gated, read_photo, Steady, rewrite_video)
        return content_hash([*asked, code(self.model, *used)])


@contextmanager
def _record(options, enhance: _Enhance):
    """Whether an image is left to do, and what notes that it is done; a single image always is."""
    from llie_core.cli.image_files import Record
    from llie_core.files import locked

    if not options.source.is_dir():
        yield lambda image: True, lambda image: None
        return
    with locked(options.target / ".lock", str(options.target)):
        record = Record(options.target / RECORD, enhance.request(options))
        yield record.left, record.note


def _workers() -> int:
    """Images at a time: one a core, as far as the memory reaches."""
    from llie_core.devices import free_memory

    # Only Linux says which cores a process may use.
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores, free_memory("cpu") // WORKER_MEMORY))


@contextmanager
def _threads(workers: int):
    """Torch's threads divided among the workers during the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)
