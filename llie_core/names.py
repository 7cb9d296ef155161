"""Names: of rows and how tables show them; misspelt ones and the nearest known."""

import difflib
from collections.abc import Iterable, Mapping, Sequence

METRICS = {
    "psnr": "PSNR", "ssim": "SSIM", "fsim": "FSIM", "lpips": "LPIPS", "niqe": "NIQE",
    "brisque": "BRISQUE", "sseq": "SSEQ", "ms_ssim": "MS-SSIM", "dists": "DISTS", "loe": "LOE",
    "psnr-rgb-float-gtmean-grey-8bit": "PSNR, GT-mean",
    "miou": "mIoU", "ap": "AP", "map": "mAP", "map_50": "mAP50", "max_f": "max F", "mae": "MAE",
    "avg_f": "avg F", "weighted_f": "weighted F", "s_measure": "S-measure",
    "e_measure": "E-measure", "iou": "IoU", "fsimc": "FSIMc", "burnt_share": "burnt share",
    "fp_per_image": "false positives",
}  # fmt: skip
# Methods of the papers' tables that are no models here.
OTHERS = {
    "csdnet": "CSDNet", "ddnet": "DDNet", "deepupe": "DeepUPE", "dln": "DLN",
    "enlightengan": "EnlightenGAN", "flw": "FLW", "glad": "GLAD", "kind": "KinD",
    "kind_pp": "KinD++", "llflow": "LLFlow", "mirnet": "MIRNet", "retinexnet": "RetinexNet",
    "snr": "SNR", "ssien": "SSIEN", "uretinex": "URetinex",
}  # fmt: skip


def nearest(name: object, known: Iterable[str]) -> str:
    """ "; did you mean 'zero_dce'?" for the end of a message, or "" where nothing is near."""
    candidates = {str(k).lower().replace("-", "_"): k for k in known}
    found = difflib.get_close_matches(str(name).lower().replace("-", "_"), candidates, 1)
    return f"; did you mean {candidates[found[0]]!r}?" if found else ""


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is none of the known ones: "no paper 'jiont'; did you mean …"."""
    known = list(known)
    return ValueError(f"no {kind} {name!r}{nearest(name, known)} (known: {', '.join(known)})")


def check_choice(known: Iterable[object], **choices: object) -> None:
    """ValueError where an argument is none of the known values: check_choice(FORMS, form=form)."""
    known = list(known)
    for name, value in choices.items():
        if value not in known:
            raise ValueError(f"{name}={value!r}: choose one of {', '.join(map(repr, known))}")


def listed(names: Sequence[str], most: int = 5) -> str:
    """Names in a message, of many the first: "a, b, …"."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def join_label(model: str, variant: str) -> str:
    """The label of a model and its variant; the variant may be empty."""
    return f"{model}+{variant}" if variant else model


def split_label(label: str) -> tuple[str, str]:
    """Model and variant of a label."""
    model, _, variant = label.partition("+")
    return model, variant


def metric_title(metric: str) -> str:
    """A metric, or a protocol in its place, as tables show it."""
    return METRICS.get(metric, metric)


def subset_title(subset: str) -> str:
    """A part of a test set as tables show it; "" for the whole."""
    return {"all": "", "day": "normal light"}.get(subset, subset)


def title_of(label: str, titles: Mapping[str, str] | None = None) -> str:
    """A label as tables show it: "gem_pam+w/o PAM" → "GEM+PAM without PAM", and behind @ the
    recognizer that trained it, "zero_dce_pp+2:1@mtcnn" → "Zero-DCE++ 2:1 (MTCNN)".

    titles: label → title of the rows that a study names itself (`study.titles`).
    """
    from llie_core.models import MODELS
    from llie_core.recognizers import recognizer_titles

    if titles and label in titles:
        return titles[label]
    model, variant = split_label(label)
    known = OTHERS | {name: spec.title for name, spec in MODELS.items()} | recognizer_titles()
    known["original"] = "normal light"
    variant, _, trainer = variant.replace("w/o", "without").partition("@")
    by = f"({known.get(trainer, trainer)})" if trainer else ""
    return " ".join(filter(None, (known.get(model, model), variant, by)))
