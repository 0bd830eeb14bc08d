"""Training recipes: TOML files, unknown keys refused, the resolved copy saved with the run."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from duoscan.errors import RecipeError
from duoscan.evaluation.aggregation import AUTO
from duoscan.files import parse_toml
from duoscan.imaging.contract import PreprocessingContract
from duoscan.inference.aggregation import Aggregation
from duoscan.inference.heads import HeadName, Words, check_distinct, check_names, check_scale
from duoscan.settings import Stated, read_toml, validated
from duoscan.terms import POSITIVE, Finding, Modality

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duoscan.manifest.records import ImageRecord


class HiddenLayer(Stated):
    """One hidden layer of the head: [batch norm] → dense → ReLU → [batch norm] → dropout."""

    units: int = Field(ge=1)
    norm: Literal["none", "before", "after"] = "none"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    l1: float = Field(default=0.0, ge=0, description="penalty on the sum of |weight|")
    l2: float = Field(default=0.0, ge=0, description="penalty on the sum of weight²")


class ModelSection(Stated):
    """What is trained."""

    backbone: str = Field(
        default="google/mobilenet_v2_1.0_224",
        description="folder or hub id@commit (transformers), or monai:Name, timm:name, plain:small",
    )
    pretrained: bool = True
    start: str = Field(default="", description="run folder whose best weights to go on from, e.g. to fine-tune")
    freeze: tuple[str, ...] = Field(default=(), description="backbone modules, by name, whose weights stay as they are")
    hidden: tuple[HiddenLayer, ...] = Field(default=(), description="hidden layers of the head; none is linear")
    dropout: float = Field(default=0.2, ge=0, lt=1, description="before the last layer")
    members: int = Field(default=1, ge=1, le=9, description="networks from as many seeds whose answers are averaged")
    mirror: bool = Field(
        default=False, description="answer for the image and its mirror image together; twice the work"
    )


class InputSection(Stated):
    """The preprocessing contract, less the modality."""

    size: int = Field(default=224, ge=8, le=2048)
    aspect: Literal["stretch", "pad"] = "stretch"
    crop_borders: bool = True
    normalisation: Literal["fixed", "per-image"] = "fixed"
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    lungs: Literal["none", "crop", "hull", "each"] = Field(
        default="none", description="show the box around the lungs, and in it all, or the hull of both or of each alone"
    )
    tone: Literal["plain", "equalised"] = Field(
        default="plain", description="of the lungs' view: greys as they are, or spread evenly"
    )
    finder: str = Field(default="", description="ONNX file of the lung finder; the shipped one if empty")
    probe: Literal["none", "borders", "centre", "thumbnail"] = "none"


class DataSection(Stated):
    """Which records take part and how often each is seen."""

    sources: tuple[str, ...] = Field(default=(), description="only these sources; empty means all")
    validation_sources: tuple[str, ...] = Field(default=(), description="choose on these only; empty means all")
    exclude_views: tuple[str, ...] = Field(default=(), description="views left out, e.g. the lateral L")
    merge: dict[Finding, Finding] = Field(default_factory=dict, description="labels to treat as another")
    findings: dict[str, Finding] = Field(
        default_factory=dict, description="source/finding in the source's own words → class, before label and merge"
    )
    exclude: tuple[str, ...] = Field(default=(), description="source/label pairs left out, e.g. darkcovidnet/covid")
    contrasts: Literal["all", "within-site"] = Field(
        default="all",
        description="within-site tells classes apart only where one site (else one source) has several of them",
    )
    balance: Literal["none", "class", "class-source", "contrast"] = "class-source"


class AugmentSection(Stated):
    """Random changes that keep the anatomy: no vertical flip, small turns, exposure changes."""

    rotate_deg: float = Field(default=10, ge=0, le=45)
    min_area: float = Field(default=0.6, gt=0, le=1, description="smallest share of the image a random crop keeps")
    aspect_jitter: float = Field(default=0.2, ge=0, le=1, description="largest |log| of the change of aspect ratio")
    hflip: float = Field(default=0.0, ge=0, le=1, description="probability; a flipped chest has its heart on the right")
    vflip: float = Field(default=0.0, ge=0, le=1, description="probability; only to repeat published protocols")
    brightness: float = Field(default=0.1, ge=0, le=1)
    contrast: float = Field(default=0.25, ge=0, lt=1)
    gamma: float = Field(default=0.25, ge=0, le=2, description="largest |log| of the exponent")
    noise: float = Field(default=0.0, ge=0, le=0.5, description="largest standard deviation of added noise")
    erase: float = Field(default=0.0, ge=0, le=1, description="probability of one grey box over part of the image")
    shrink: float = Field(default=0.0, ge=0, le=1, description="probability of a smaller size and back")
    jpeg: float = Field(default=0.0, ge=0, le=1, description="probability of JPEG of quality 30 to 95")
    randconv: float = Field(default=0.0, ge=0, le=1, description="probability of a random 3 × 3 filter, mixed in")
    amplitude: float = Field(default=0.0, ge=0, le=1, description="probability of another image's coarse amplitudes")


class OptimiseSection(Stated):
    """How the weights are found."""

    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=16, ge=2)
    learning_rate: float = Field(default=5e-4, gt=0)
    optimiser: Literal["adamw", "adam"] = "adamw"
    weight_decay: float = Field(default=0.01, ge=0)
    schedule: Literal["cosine", "constant", "exponential"] = "cosine"
    decay_rate: float = Field(default=0.96, gt=0, le=1, description="exponential schedule: factor …")
    decay_steps: int = Field(default=40, ge=1, description="… every so many steps")
    warmup_epochs: float = Field(default=2, ge=0)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    mixup: float = Field(default=0.0, ge=0, description="Beta parameter of mixup (Zhang et al., ICLR 2018); 0 is off")
    clip_norm: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.98, ge=0, lt=1, description="decay of the averaged weights; 0 is off")
    monitor: Literal["auroc", "loss"] = "auroc"
    patience: int = Field(default=10, ge=1, description="epochs without improvement before stopping")
    amp: Literal["auto", "on", "off"] = "auto"
    channels_last: bool = True
    views: int = Field(
        default=0,
        ge=0,
        le=64,
        description="augmented views of each image that are taken through the frozen layers once and kept; 0 augments "
        "anew each time",
    )


class OperatingSection(Stated):
    """Which threshold the bundle decides by; chosen on validation patients."""

    default: Literal["argmax", "youden", "sensitivity"] = "youden"
    sensitivity: float = Field(default=0.95, gt=0, le=1)


class StudySection(Stated):
    """How the images of a study are joined to one answer."""

    aggregation: str = Field(
        default=AUTO, description="auto chooses on validation; or max, mean, top-K, noisy-or, attention"
    )

    @field_validator("aggregation")
    @classmethod
    def _check_known(cls, name: str) -> str:
        if name != AUTO:
            Aggregation.named(name)
        return name


class _HeadSection(Stated):
    name: HeadName
    title: Words
    column: str = Field(min_length=1, description="of the manifest, or of the table, that holds the reference")
    table: str = Field(default="", description="CSV with columns path and this one, relative to the manifest's folder")


class CategoryHeadSection(_HeadSection):
    """A further head for categories, fitted on the finished network's features."""

    kind: Literal["categories"]
    categories: tuple[Words, ...] = Field(min_length=2, description="texts of the column, in rising order")

    @model_validator(mode="after")
    def _check_distinct(self) -> CategoryHeadSection:
        check_distinct(self.categories)
        return self


class ScoreHeadSection(_HeadSection):
    """A further head for a score on a scale, fitted on the finished network's features."""

    kind: Literal["score"]
    least: float
    most: float

    @model_validator(mode="after")
    def _check_scale(self) -> ScoreHeadSection:
        check_scale(self.least, self.most)
        return self


HeadSection = Annotated[CategoryHeadSection | ScoreHeadSection, Field(discriminator="kind")]


class Recipe(Stated):
    """All that decides how a phase is trained; equal recipes and data give equal runs."""

    name: str = Field(min_length=1)
    modality: Modality
    classes: tuple[Finding, ...]
    seed: int = Field(default=0, ge=0)
    model: ModelSection = ModelSection()
    input: InputSection = InputSection()
    data: DataSection = DataSection()
    augment: AugmentSection = AugmentSection()
    optimise: OptimiseSection = OptimiseSection()
    operating: OperatingSection = OperatingSection()
    study: StudySection = StudySection()
    heads: tuple[HeadSection, ...] = Field(default=(), description="what is told beside P(covid); decides nothing")

    @model_validator(mode="after")
    def _check_classes(self) -> Recipe:
        if POSITIVE not in self.classes or len(set(self.classes)) < 2 or len(set(self.classes)) != len(self.classes):
            msg = f"classes need '{POSITIVE}' and at least one other, each once; found {list(self.classes)}"
            raise ValueError(msg)
        if missing := set(self.data.merge.values()) - set(self.classes):
            msg = f"data.merge leads to {sorted(missing)}, which is not among the classes"
            raise ValueError(msg)
        check_names([head.name for head in self.heads])
        return self

    def contract(self) -> PreprocessingContract:
        """The preprocessing contract this recipe trains under."""
        section = self.input
        return PreprocessingContract(
            version=1 if section.lungs == "none" else 2,
            modality=self.modality,
            height=section.size,
            width=section.size,
            **section.model_dump(exclude={"size", "finder"}),
        )

    def class_of(self, label: Finding | None) -> Finding | None:
        """The class a label stands for; ``None`` where it is none of them."""
        merged = self.data.merge.get(label, label) if label else None
        return merged if merged in self.classes else None

    def trains_as(self, record: ImageRecord) -> Finding | None:
        """The class a record trains as; ``None`` leaves it out."""
        stated = self.data.findings.get(f"{record.source}/{record.finding}")
        if stated is not None and stated in self.classes:
            return stated
        if record.view in self.data.exclude_views or f"{record.source}/{record.label}" in self.data.exclude:
            return None
        return self.class_of(record.label)


def builtin_recipes() -> dict[str, Path]:
    """Recipes that come with the package, by name."""
    folder = Path(str(resources.files("duoscan") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply ``section.key=value`` overrides.

    Args:
        name_or_path: A name from :func:`builtin_recipes`, or a TOML file.
        overrides: Values in TOML syntax; a bare word is taken as text.

    Raises:
        RecipeError: No such recipe, not TOML, an unknown key (with the nearest known one), or a wrong value.
    """
    path = builtin_recipes().get(name_or_path, Path(name_or_path))
    if not path.is_file():
        known = ", ".join(builtin_recipes())
        raise RecipeError(f"recipe '{name_or_path}': no such file and no recipe of that name; known: {known}")
    table = read_toml(path, RecipeError)
    for override in overrides:
        _override(table, override)
    return validated(Recipe, table, path, RecipeError)


def _override(table: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise RecipeError(f"'{override}': write overrides as section.key=value, e.g. optimise.epochs=5")
    try:
        value = parse_toml(f"value = {text}".encode())["value"]
    except ValueError:
        value = text
    *sections, last = key.strip().split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise RecipeError(f"'{override}': '{section}' is a value, not a section")
    table[last] = value
