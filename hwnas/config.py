"""The run's configuration: one validated record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from hwnas.data_config import DataConfig
from hwnas.quantities import Budget, parse_bytes, parse_count, parse_mj, parse_percentile
from hwnas.records import STRICT
from hwnas.setting_types import AS_WRITTEN, Count, FilePath, Fraction, Name, Share, checked
from hwnas.settings import About

TABULAR = "tabular:"
"""The prefix of a benchmark's file where that is the evaluator, as in `tabular:FILE`."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class SpaceConfig:
    """The networks to search among: a built-in space, a YAML file, or `./file.py:Name`; the channels are the data's."""

    name: Annotated[Name, About("Search space; see hwnas spaces.", flag="--space", panel="What", names="space")] = (
        "nasbench-macro"
    )
    input_size: Annotated[
        Annotated[str | int, AS_WRITTEN] | None,
        About("Pixels a side, or height and width as 128x256 [the data's].", flag="--input-size", panel="What"),
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
            "Sizes of images to choose from, its own first: 96,80,64; where it runs at them [its own].",
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
class TrainingConfig:
    """The recipe of a training: optimiser, schedule, and what keeps it from learning images by heart."""

    epochs: Count
    batch_size: Annotated[Count, About("Images a step.")] = 64
    optimizer: Annotated[
        Literal["sgd", "adamw"],
        About("Optimiser: sgd or adamw, which takes about a hundredth of the learning rate."),
    ] = "sgd"
    learning_rate: Annotated[float, Field(gt=0), About("Learning rate after the warm-up.")] = 0.1
    warmup_epochs: Annotated[
        float, Field(ge=0), About("Epochs in which the learning rate rises; half of all at most.")
    ] = 2.0
    schedule: Annotated[
        Literal["cosine", "one-cycle", "constant"],
        About(
            "How the learning rate goes on after the warm-up: cosine or constant; one-cycle rises for three tenths of "
            "the epochs."
        ),
    ] = "cosine"
    momentum: Annotated[float, Field(ge=0, lt=1), About("Nesterov momentum of sgd; 0 for none.")] = 0.9
    betas: Annotated[tuple[Share, Share], About("Decay of adamw's averages of gradients and of their squares.")] = (
        0.9,
        0.999,
    )
    weight_decay: Annotated[
        float, Field(ge=0), About("Weight decay of convolutions and products; by adamw apart from the gradients.")
    ] = 5e-4
    label_smoothing: Annotated[
        float, Field(ge=0, lt=1), About("Probability that cross entropy spreads over the wrong classes.")
    ] = 0.1
    mixup: Annotated[
        float, Field(ge=0), About("Mix images in pairs, by shares drawn from a beta distribution of this; 0 for none.")
    ] = 0.0
    cutmix: Annotated[
        float, Field(ge=0), About("Paste a box of each image into another one, by shares drawn likewise; 0 for none.")
    ] = 0.0
    stochastic_depth: Annotated[
        float,
        Field(ge=0, lt=1),
        About("Probability of leaving out the last residual branch; of those before it, less; 0 for none."),
    ] = 0.0
    layer_decay: Annotated[
        float,
        Field(gt=0, le=1),
        About("The learning rate of each layer as a share of that of the layer after it, for fine-tuning."),
    ] = 1.0
    clip_norm: Annotated[
        Annotated[float, Field(gt=0)] | None, About("Norm that gradients are clipped to [they are not].")
    ] = 5.0
    ema_decay: Annotated[
        Fraction | None, About("Decay of the moving average of weights that is kept [the last weights are kept].")
    ] = None
    criterion: Annotated[
        Name | None,
        About(
            "Loss that training minimises [the task's]; see hwnas list criterion.",
            flag="--criterion",
            panel="Training",
            names="criterion",
        ),
    ] = None
    images_per_class: Annotated[
        Count | None,
        About(
            "Images of a class in a batch, of as many classes as fit, as losses on pairs and triplets need it "
            "[as they come]."
        ),
    ] = None
    gradient_accumulation: Annotated[
        Count,
        About("Parts that a batch goes through in, where it does not fit in memory; BatchNorm then sees the parts."),
    ] = 1
    accelerator: Annotated[
        Literal["cpu", "cuda"], About("Where training runs: cpu or cuda.", flag="--accelerator", panel="Training")
    ] = "cpu"
    mixed_precision: Annotated[
        bool | Literal["auto"],
        About("Compute convolutions and products in bfloat16; auto: where a few steps, timed first, are faster."),
    ] = False
    compile: Annotated[
        bool, About("Train a program that torch compiles of the network; a minute is needed first, and a C++ compiler.")
    ] = False


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class SupernetConfig(TrainingConfig):
    """Settings of the supernet's training."""

    epochs: Annotated[
        Annotated[int, Field(ge=0)],
        About("Epochs of the supernet; 0 searches given weights as they are.", flag="--epochs", panel="Training"),
    ] = 60
    strategy: Annotated[
        Name,
        About(
            "Training strategy of the supernet; see hwnas list training-strategy.",
            flag="--strategy",
            panel="Training",
            names="training-strategy",
        ),
    ] = "uniform"

    def __post_init__(self) -> None:
        if self.compile:
            raise ValueError(
                "compile is for single networks: a supernet takes another path in every step, and each would be "
                "compiled anew; expected false, got True"
            )


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class RetrainConfig(TrainingConfig):
    """Settings of the training of the winner and its references."""

    epochs: Annotated[
        Annotated[int, Field(ge=0)],
        About(
            "Epochs of the winner and its references; 0 keeps inherited weights as they are.",
            flag="--retrain-epochs",
            panel="Training",
        ),
    ] = 60
    inherit: Annotated[
        bool, About("Retrain from the supernet's weights.", flag="--inherit/--no-inherit", panel="Training")
    ] = False
    distillation: Annotated[
        float,
        Field(ge=0),
        About(
            "Weight in the loss of the divergence from the supernet's largest path, or from its embeddings "
            "(Hinton et al. 2015); 0 for none."
        ),
    ] = 0.0
    references: Annotated[bool, About("Train the largest and a random network under the budget too.")] = True
    validation_portion: Annotated[
        Fraction | None,
        About(
            "Share of the training images that is not trained on and chooses the best epoch "
            "[none: the last epoch is kept, or the best by the data's own validation images]."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class SearchConfig:
    """Settings of the search of the supernet."""

    agent: Annotated[
        Name, About("Search agent; see hwnas list search-agent.", flag="--agent", panel="Search", names="search-agent")
    ] = "predictor"
    evaluator: Annotated[
        Name,
        About(
            "What architectures are scored by; see hwnas list evaluator; or tabular:FILE.",
            flag="--evaluator",
            panel="Search",
            names="evaluator",
        ),
    ] = "supernet"
    short_epochs: Annotated[Count, About("Epochs of evaluator short-training.")] = 2
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


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class RunConfig:
    """Everything a run depends on; all maxima are hard."""

    max_latency: Annotated[
        str,
        checked(Budget.parse),
        About("The budget: 20ms, or 60% of what the slowest network takes.", flag="--max-latency", panel="Budget"),
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
        FilePath | None, About("Latency table; made first where none is given.", flag="--lut", panel="What")
    ] = None
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
