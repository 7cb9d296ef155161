"""Enhancers: `create_enhancer(name)` builds any of them; a method's file is imported on demand.

To add a method: one file beside this one and one record in `_RECORDS`; its released weights, if
any, are an entry of weights.toml. A package of one's own adds methods by entry points (plugins.py).
The setting `methods: [NAME]` makes it a row of any study, where it is trained if it has parameters.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from llie_core.models.base import Enhancer
from llie_core.names import unknown
from llie_core.plugins import plugins

__all__ = [
    "MODELS",
    "Enhancer",
    "ModelSpec",
    "create_enhancer",
    "list_darkeners",
    "list_enhancers",
    "model_spec",
]


@dataclass(frozen=True)
class ModelSpec:
    """One record of the registry.

    name: what `create_enhancer`, settings and labels call it. title: what tables call it.
    builder: "module:attribute", a class or a function that builds the model.
    kind: "enhancer"; "darkener", which synthesises low-light images; or what no listing offers:
    "stage", part of another model's training, and "checkpoint", whose file says what it is.
    released: the entry of weights.toml with the authors' checkpoint (address, sha256, terms), ""
    where none is known. reference: the weights that the project ships, below results/reference
    (`records.reference_run` has their record), "" where it ships none. reference_also: the data
    sets that they were trained on besides the one of that record, whose terms hold for them, too.
    loss: "package.module:function" of the loss by which papers 3 to 5 train it where they compare
    it, an `engine.loop.Objective`; "" for `losses.paired.PlainLoss`. package: the one that a
    plug-in is of, "" for the project's own.
    """

    name: str
    title: str
    builder: str
    kind: str = "enhancer"
    released: str = ""
    reference: str = ""
    reference_also: tuple[str, ...] = ()
    loss: str = ""
    package: str = ""


# The input itself stands first: every comparison includes it.
_RECORDS = (
    ModelSpec("identity", "input", "classical:Identity"),
    ModelSpec("gamma", "gamma 1/2.2", "classical:Gamma"),
    ModelSpec("he", "HE", "classical:HistogramEqualization"),
    ModelSpec("clahe", "CLAHE", "classical:CLAHE"),
    ModelSpec("ldr", "LDR", "histogram:LayeredDifference"),
    ModelSpec("lrs", "LRS", "histogram:RegionStretching"),
    ModelSpec("jed", "JED", "variational:JED"),
    ModelSpec("sdd", "SDD", "variational:SDD"),
    ModelSpec("lime", "LIME", "variational:LIME"),
    ModelSpec("msr", "MSR", "retinex:MultiScaleRetinex"),
    ModelSpec("npe", "NPE", "retinex:NaturalnessPreserved"),
    ModelSpec("bimef", "BIMEF", "fusion:BIMEF"),
    ModelSpec("crm", "CRM", "fusion:CameraResponse"),
    ModelSpec("dong", "Dong", "fusion:InvertedDehazing"),
    ModelSpec("mf", "MF", "fusion:MultiScaleFusion"),
    ModelSpec("zero_dce", "Zero-DCE", "zero_dce:ZeroDCE", released="zero-dce"),
    ModelSpec("zero_dce_pp", "Zero-DCE++", "zero_dce:ZeroDCEPlusPlus", released="zero-dce-pp"),
    ModelSpec(
        "sci",
        "SCI",
        "sci:SCI",
        released="sci-medium",
        loss="llie_core.losses.illumination:sci_loss",
    ),
    ModelSpec("ruas", "RUAS", "ruas:RUAS", released="ruas-lol"),
    ModelSpec("iat", "IAT", "iat:IAT", released="iat-lol"),
    ModelSpec("cpga_net_plus", "CPGA-Net+", "cpga_net:CPGANetPlus", released="cpga-net-plus-lol"),
    ModelSpec(
        "curve_refine",
        "CurveRefine",
        "curve_refine:CurveRefine",
        reference="neid/lol/photographs/weights/curve_refine-seed0.safetensors",
        reference_also=("zero-dce-train", "camvid"),
    ),
    ModelSpec(
        "gem_pam",
        "GEM+PAM",
        "gem_pam:GemPam",
        reference="recognition/camvid/reference/weights/gem_pam-seed0.safetensors",
    ),
    ModelSpec("ialm", "IALM", "ialm:IALM"),
    ModelSpec("jcrnet", "JCRNet", "jcrnet:JCRNet"),
    ModelSpec("drgn", "DRGN", "drgn:DRGN"),
    ModelSpec("lw_drgn", "LW-DRGN", "drgn:LWDRGN"),
    ModelSpec("neid", "NEID", "neid:NEID"),
    ModelSpec(
        "ec_zero_dce",
        "EC-Zero-DCE",
        "ec_zero_dce:ECZeroDCE",
        "darkener",
        reference="joint/builtin-photos/reference/weights/ec_zero_dce-seed0.safetensors",
    ),
    ModelSpec("drgn_degradation", "DRGN, first stage", "drgn:drgn_degradation", "stage"),
    ModelSpec("lw_drgn_degradation", "LW-DRGN, first stage", "drgn:lw_drgn_degradation", "stage"),
    ModelSpec("checkpoint", "checkpoint", "checkpoint:Checkpoint", "checkpoint"),
)
MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in _RECORDS}
for _one in plugins(taken={*MODELS, "original"}):
    MODELS[_one.name] = ModelSpec(
        _one.name, _one.name, _one.builder, loss=_one.loss, package=_one.package
    )


def list_enhancers() -> list[str]:
    """Names of all enhancers that `create_enhancer` builds, `identity` (the input) first."""
    return [spec.name for spec in MODELS.values() if spec.kind == "enhancer"]


def list_darkeners() -> list[str]:
    """Names of the models that darken instead; `create_enhancer` builds them too."""
    return [spec.name for spec in MODELS.values() if spec.kind == "darkener"]


def model_spec(name: str) -> ModelSpec:
    """The record of one model.

    Raises:
        ValueError: unknown name; the message gives the nearest match and the known names.
    """
    if name not in MODELS:
        raise unknown("enhancer", name, list_enhancers())
    return MODELS[name]


def create_enhancer(name: str, weights: str | Path | None = None, **options) -> Enhancer:
    """Build an enhancer or a darkener.

    Args:
        name: one of `list_enhancers()` or `list_darkeners()`, or "checkpoint": the network that a
            file of weights says it is (models/checkpoint.py).
        weights: None starts with fresh ones; "reference" loads those that the project ships, with
            the record `records.reference_run`; "released" loads the authors' checkpoint that
            `llie weights fetch` has put into the weights folder, checked by its sha256, and a name
            of weights.toml another one of theirs; a path loads a run's safetensors file, the
            authors' checkpoint where there is one, or else the model's own state dict as torch.save
            writes it.
        options: the constructor's keyword arguments; an unknown one is a TypeError.

    Returns:
        The model; with weights, in evaluation mode.

    Raises:
        ValueError: unknown name, no such weights known, a file that is not this model's, or a
            plug-in that fails; one line.
        FileNotFoundError: no such file; for "released", the message names the command to run.
    """
    spec = model_spec(name)
    model = _plugin(spec, options) if spec.package else _build(spec, options)
    return model if weights is None else _with_weights(model, spec, weights)


def _build(spec: ModelSpec, options: dict) -> Enhancer:
    module, _, attribute = spec.builder.partition(":")
    # A builder elsewhere is named by its whole path.
    module = module if "." in module or spec.package else f"{__name__}.{module}"
    return getattr(import_module(module), attribute)(**options)


def _plugin(spec: ModelSpec, options: dict) -> Enhancer:
    """The enhancer of a plug-in, whose code may fail in any way."""
    try:
        model = _build(spec, options)
        if not isinstance(model, Enhancer):
            raise TypeError(f"{spec.builder} makes no llie_core.models.Enhancer")
    except Exception as error:
        line = next(iter(str(error).splitlines()), "")
        raise ValueError(
            f"{spec.name}, plug-in of {spec.package}, fails: {type(error).__name__}: {line}"
        ) from error
    return model


def _with_weights(model: Enhancer, spec: ModelSpec, weights: str | Path) -> Enhancer:
    from llie_core.models.records import reference_run
    from llie_core.tensors import load_weights, looks_like_safetensors, read_released
    from llie_core.weights import file_of, find

    if weights in ("released", "reference") and not getattr(spec, weights):
        known = ", ".join(n for n, other in MODELS.items() if getattr(other, weights))
        raise ValueError(f"no {weights} weights of {spec.name} are known (known: {known})")
    if weights == "released":
        model.load_released_weights(find(spec.released))
    elif weights == "reference":
        load_weights(model, reference_run(spec.reference).path)
    else:
        file = file_of(weights)
        if spec.kind == "checkpoint":
            model.load_released_weights(file)
        elif not file.is_file() or looks_like_safetensors(file):
            load_weights(model, file)
        elif hasattr(model, "load_released_weights"):
            model.load_released_weights(file)
        else:  # this very model's state dict, as torch.save writes it
            model.load_state_dict(read_released(file, model.state_dict()))
    return model.eval()
