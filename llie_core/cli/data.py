"""`llie datasets`, `export`: data sets and test images."""

import json
import shlex
import sys

from llie_core.cli.arguments import (
    add_study,
    folder,
    merged,
    overrides,
    path,
    positive,
    study_of,
    whole,
)

EXTERNAL = "external"  # where other programs' images are put, below the project


def add(commands) -> None:
    datasets = commands.add_parser("datasets", help="list data sets; check copies; make synthetic")
    actions = datasets.add_subparsers(metavar="doctor | make")
    datasets.set_defaults(run=_datasets)
    doctor = actions.add_parser("doctor", help="counts, partners, damage, sizes, leaks of a copy")
    doctor.add_argument("name", nargs="?", metavar="NAME", help="one data set; default: all found")
    doctor.add_argument("--data", type=path, required=True, help="folder that holds the data sets")
    doctor.add_argument("--quick", action="store_true", help="read the images' headers only")
    doctor.set_defaults(run=_doctor)
    make = actions.add_parser("make", help="darken images into a set of pairs")
    make.add_argument("name", metavar="NAME", help="coco-low-light, coco1000, coco24700, lol-style")
    make.add_argument(
        "--data", type=path, required=True,
        help="folder of normal-light images; for coco…, a copy of COCO also gives its boxes",
    )  # fmt: skip
    make.add_argument("--out", type=folder, required=True, help="folder for low/ and high/, of "
                      "lol-style and coco24700 in train/")  # fmt: skip
    make.add_argument("--seed", type=whole, default=0)
    make.add_argument("--count", type=positive, help="images; default: as many as the set has")
    make.set_defaults(run=_make_dataset, resumes=True)
    export = commands.add_parser("export", help="write a paper's test images for other programs")
    add_study(export)
    export.add_argument("--out", type=folder, required=True, help="folder for the images (PNG)")
    export.set_defaults(run=_export)


def _datasets(_options) -> int:
    from llie_core.data import listing_text

    print(listing_text())
    return 0


def _doctor(options) -> int:
    from llie_core.data.doctor import doctor_text

    text, code = doctor_text(options.name, options.data, quick=options.quick)
    print(text)
    return code


def _make_dataset(options) -> int:
    from llie_core.data.synthesis import preset_source, write_preset

    source = preset_source(options.name, options.data, options.out)
    written = write_preset(options.name, source, options.out, options.seed, options.count)
    not_read = getattr(source, "not_read", "")
    for problem in filter(None, (*written.unreadable.values(), not_read)):
        print(f"llie: {problem}", file=sys.stderr)
    print(f"{written.pairs} pairs written to {written.folder}")
    return 1 if written.unreadable else 0


def _export(options) -> int:
    from llie_core.cli.image_files import each_image
    from llie_core.data.folders import bare
    from llie_core.data.images import write_image

    study = study_of(options)
    test_set = study.test_sets()[0]
    data = study.data(test_set)

    def write(index: int) -> None:
        item = data[index]
        write_image(options.out / f"{bare(str(item['name']))}.png", item["image"])

    failed = each_image(range(len(data)), write, lambda index: f"{test_set.name}, image {index}")
    print(
        f"{len(data) - failed} of {len(data)} images written to {options.out}; run a method on "
        f"them, keep the names,\nput its images into {EXTERNAL}/METHOD/{test_set.name}/ of the "
        f"project, then:\n{shlex.join(_reproduce(study, options))}"
    )
    return 1 if failed else 0


def _reproduce(study, options) -> list[str]:
    """The make command of a study's report with other programs' images as rows."""
    changes = merged(overrides(options.overrides), {"external": EXTERNAL})
    data = [f"DATA={study.settings.data}"] if options.data else []
    return [
        "make", "reproduce", f"PAPER={study.paper}", f"DATASET={study.settings.dataset}",
        f"PROFILE={study.settings.profile}", *data, f"SETTINGS={json.dumps(changes)}",
    ]  # fmt: skip
