"""The part of the configuration that says how networks are trained."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from hwnas.records import STRICT
from hwnas.setting_types import Count, Fraction, Name, Share
from hwnas.settings import About


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
