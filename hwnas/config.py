"""The run's configuration: one validated record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from hwnas.augmentation import Augmentation
from hwnas.config_fleet import FleetDevice
from hwnas.config_training import RetrainConfig, SupernetConfig, TrainingConfig
from hwnas.quantities import Budget, parse_bytes, parse_count, parse_mj, parse_percentile
from hwnas.records import STRICT
from hwnas.setting_types import AS_WRITTEN, Count, FilePath, Fraction, Name, Objective, checked
from hwnas.settings import About

__all__ = [
    "TABULAR",
    "DataConfig",
    "FleetDevice",
    "RetrainConfig",
    "RunConfig",
    "SearchConfig",
    "SpaceConfig",
    "SupernetConfig",
    "TrainingConfig",
    "TrustConfig",
]

TABULAR = "tabular:"
"""The prefix of a benchmark's file where that is the evaluator, as in `tabular:FILE`."""

SHORT_TRAINING = "short-training"
"""The evaluator that trains every network alone for `search.short_epochs`."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class SpaceConfig:
    """The networks to search among: a built-in space, a YAML file, or `./file.py:Name`; the channels are the data's."""

    name: Annotated[Name, About("Search space; see hwnas spaces.", flag="--space", panel="What", names="space")] = (
        "nasbench-macro"
    )
    input_size: Annotated[
        Annotated[str | int, AS_WRITTEN] | None,
        About(
            "Pixels a side, or height and width as 128x256 [the data's; of a folder of images 64].",
            flag="--input-size",
            panel="What",
        ),
    ] = None
    model: Annotated[
        Name | None,
        About(
            "Your own trained network: ./net.py:function, a program of torch.export (.pt2) or an ONNX file.",
            flag="--model",
            panel="What",
        ),
    ] = None
    weights: Annotated[
        FilePath | None,
        About("Its weights: safetensors, or a state dict [those it has].", flag="--weights", panel="What"),
    ] = None
    freeze: Annotated[
        tuple[str, ...],
        About(
            "Parts of it that keep their size, by patterns of names: layer1.*,stem; their weights are trained on.",
            flag="--freeze",
            panel="What",
        ),
    ] = ()
    resolutions: Annotated[
        tuple[Annotated[str | int, AS_WRITTEN], ...],
        About(
            "Sizes of images that networks choose from, the largest first: 96,80,64 [one].",
            flag="--resolutions",
            panel="What",
        ),
    ] = ()
    shares: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], ...] | None,
        About("Shares of its channels that are offered [1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25]."),
    ] = None
    step: Annotated[Count, About("Channels that its widths are multiples of: runtimes work on so many at a time.")] = 8
    width: Annotated[float, Field(ge=0.05, le=16), About("Width multiplier.", flag="--width", panel="What")] = 1.0
    outputs: Annotated[Count | None, About("Outputs of a network [the classes, or 128 features of an embedding].")] = (
        None
    )


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class DataConfig:
    """The data to learn."""

    name: Annotated[
        Name, About("Data set; see hwnas list dataflow.", flag="--data", panel="Data", names="dataflow")
    ] = "digits"
    root: Annotated[FilePath, About("Folder or archive of the data.", flag="--data-root", panel="Data")] = Path("data")
    train_portion: Annotated[
        Fraction | None,
        About(
            "Share of the training images that train the supernet; the others drive the search "
            "[0.8, or all where the data bring validation images, which then drive it]."
        ),
    ] = None
    augmentation: Annotated[
        Augmentation | None,
        About(
            "Random changes of training images, such as {crop: 0.08, flip: true, random_erasing: 0.25, operations: 2, "
            "magnitude: 0.3, cutout: 8, shift: 4}; of images with boxes or masks, such as {scale: 0.5, flip: true, "
            "colour: 0.2, mosaic: 0.5} [the data set's]."
        ),
    ] = None
    mean: Annotated[
        tuple[float, ...] | None,
        About("Mean of each channel that images are normalised by, in 0 to 1 [that of the training images]."),
    ] = None
    std: Annotated[
        tuple[Annotated[float, Field(gt=0)], ...] | None,
        About("Standard deviation of each channel, likewise [that of the training images]."),
    ] = None
    train_images: Annotated[
        Count | None, About("Use only so many training images [all].", flag="--train-images", panel="Data")
    ] = None
    validation_images: Annotated[
        Count | None,
        About("Evaluate networks on only so many images [all].", flag="--validation-images", panel="Data"),
    ] = None
    skip_broken_images: Annotated[
        bool, About("Leave out files that cannot be read.", flag="--skip-broken-images", panel="Data")
    ] = False


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class SearchConfig:
    """Settings of the search of the supernet."""

    agent: Annotated[
        Name, About("Search agent; see hwnas list search-agent.", flag="--agent", panel="Search", names="search-agent")
    ] = "predictor"
    objective: Annotated[
        Objective | None,
        About(
            "What is sought: score, the best network; front, all that no other beats in score and in every latency "
            "[what the agent seeks by itself].",
            flag="--objective",
            panel="Search",
        ),
    ] = None
    evaluator: Annotated[
        Name,
        About(
            "What architectures are scored by; see hwnas list evaluator; or tabular:FILE.",
            flag="--evaluator",
            panel="Search",
            names="evaluator",
        ),
    ] = "supernet"
    short_epochs: Annotated[Count, About("Epochs of evaluator short-training, and of finalists at first.")] = 2
    trained_finalists: Annotated[
        int,
        Field(ge=0),
        About(
            "Finalists that are trained alone for short_epochs, the better half of them for twice as long and so on, "
            "before the best is named the winner; 0 takes the evaluator's word."
        ),
    ] = 0
    executor: Annotated[
        Literal["local", "ray"], About("Where evaluations run: local or ray.", flag="--executor", panel="Search")
    ] = "local"
    actors: Annotated[Count, About("Ray actors.", flag="--actors", panel="Search")] = 2
    ray_address: Annotated[str | None, About("Ray cluster [RAY_ADDRESS, else one on this machine].")] = None
    confidence: Annotated[
        Annotated[float, Field(ge=0.5, lt=1)] | None,
        About(
            "Probability of keeping the budget that predictions must leave room for [no room is left].",
            flag="--confidence",
            panel="Budget",
        ),
    ] = None
    evaluations: Annotated[Count, About("Architectures to evaluate.", flag="--evaluations", panel="Search")] = 100
    recalibration_batches: Annotated[
        Count, About("Batches that give each architecture BatchNorm statistics of its own.")
    ] = 8
    finalists: Annotated[Count, About("Best architectures that are measured before one is named the winner.")] = 8
    generation: Annotated[
        Count,
        About(
            "Architectures asked for at a time: an agent knows more when asked for fewer, and more actors have "
            "nothing to do."
        ),
    ] = 5
    proxies: Annotated[
        tuple[Literal["gradient-norm", "naswot", "synflow", "zen"], ...],
        About("Features of the predictor, computed for a sample of architectures and learnt for all others."),
    ] = ()
    early_stopping: Annotated[
        bool,
        About(
            "Stop evaluating architectures that are certain to be worse than as many others as there are finalists, "
            "no slower; their scores are estimates."
        ),
    ] = True


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class TrustConfig:
    """The demand on latency tables."""

    min_within_10pct: Annotated[
        float, Field(ge=0, le=1), About("Share of held-out networks that a good enough table predicts within 10 %.")
    ] = 0.8
    extra_minutes: Annotated[
        float,
        Field(ge=0),
        About("Minutes that the run's own table is measured on for at most where it is not good enough."),
    ] = 5.0
    accept_any: Annotated[
        bool,
        About(
            "Take a table whatever its certificate says, made under an emulator or while the machine was slowed too.",
            flag="--accept-table",
            panel="What",
        ),
    ] = False
    allow_unmeasured: Annotated[
        bool,
        About(
            "Go on by prediction where one of several devices cannot be measured during the run.",
            flag="--allow-unmeasured",
            panel="Budget",
        ),
    ] = False


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class RunConfig:
    """Everything a run depends on; all maxima are hard."""

    max_latency: Annotated[
        str,
        checked(Budget.parse),
        About(
            "The budget: 20ms, or 60% of what the slowest network takes; with your own network, of what that takes.",
            flag="--max-latency",
            panel="Budget",
        ),
    ]
    budgets: Annotated[
        tuple[Annotated[str, checked(Budget.parse)], ...],
        About("Further budgets, each with a winner of its own: 5ms,10ms,20ms.", flag="--budgets", panel="Budget"),
    ] = ()
    percentile: Annotated[
        Annotated[int, Field(ge=50, le=99), AfterValidator(parse_percentile)],
        About(
            "Percentile of single runs that budgets are held on: 50 for the median, 95 or 99.",
            flag="--percentile",
            panel="Budget",
        ),
    ] = 50
    max_params: Annotated[
        Annotated[str, checked(parse_count)] | None,
        About("Parameters at most: 3M.", flag="--max-params", panel="Budget"),
    ] = None
    max_macs: Annotated[
        Annotated[str, checked(parse_count)] | None,
        About("Multiply-accumulates at most: 300M.", flag="--max-macs", panel="Budget"),
    ] = None
    max_memory: Annotated[
        Annotated[str, checked(parse_bytes)] | None,
        About("Weights and activations at their peak at most: 64MB.", flag="--max-memory", panel="Budget"),
    ] = None
    max_energy: Annotated[
        Annotated[str, checked(parse_mj)] | None,
        About("Energy of a forward pass at most: 5mJ; the table must have it.", flag="--max-energy", panel="Budget"),
    ] = None
    space: SpaceConfig = SpaceConfig()
    data: DataConfig = DataConfig()
    device: Annotated[
        str | None,
        About("Device; see hwnas devices [the table's, or cpu].", flag="--device", panel="What", names="device"),
    ] = None
    devices: Annotated[FilePath | None, About("A devices file of your own.", flag="--devices", panel="What")] = None
    lut: Annotated[
        FilePath | None,
        About(
            "Latency table; made first where none is given. FILE=BUDGET once for each of several devices.",
            flag="--lut",
            panel="What",
        ),
    ] = None
    fleet: Annotated[
        tuple[FleetDevice, ...],
        About("Further devices that networks must keep a budget on: [{lut: b.json, max_latency: 20ms}]."),
    ] = ()
    trust: TrustConfig = TrustConfig()
    precision: Annotated[
        Literal["fp32", "int8"], About("Precision of the table: fp32 or int8.", flag="--precision", panel="What")
    ] = "fp32"
    supernet: SupernetConfig = SupernetConfig()
    search: SearchConfig = SearchConfig()
    retrain: RetrainConfig = RetrainConfig()
    task: Annotated[
        Name,
        About(
            "What networks are for, such as detection; see hwnas list task.", flag="--task", panel="What", names="task"
        ),
    ] = "classification"
    seed: Annotated[
        int, Field(ge=0, lt=2**32), About("Everything random depends on it.", flag="--seed", panel="Training")
    ] = 0
    tracker: Annotated[
        Name | None,
        About(
            "Where the run's numbers and files go too, such as mlflow; see hwnas list tracker [nowhere].",
            flag="--tracker",
            panel="Output",
            names="tracker",
        ),
    ] = None
    out: Annotated[FilePath, About("The run's folder.", flag="--out", panel="Output")] = Path("runs/default")
