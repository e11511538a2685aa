"""The run's configuration: one validated record, from YAML and flags."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from hwnas.dataflow.augmentation import Augmentation
from hwnas.errors import RequestError
from hwnas.quantities import Budget, parse_bytes, parse_count, parse_mj
from hwnas.records import STRICT
from safe_files import FileError, dump_yaml, expanded, parse_yaml, read_yaml


def _checked(parse: Callable[[str | float], object]) -> BeforeValidator:
    """Return a validator that takes the texts that the parser takes, and keeps them as they were written."""

    def check(text: str | float) -> str:
        parse(text)
        return str(text)

    return BeforeValidator(check)


_Count = Annotated[int, Field(ge=1)]
_Fraction = Annotated[float, Field(gt=0, lt=1)]
_Path = Annotated[Path, AfterValidator(expanded)]
_Name = Annotated[str, AfterValidator(expanded)]
"""The name of a part, or of a file that says what it is."""
TABULAR = "tabular:"
"""The prefix of a benchmark's file where that is the evaluator, as in `tabular:FILE`."""


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class SpaceConfig:
    """The networks to search among: a built-in space, a YAML file, or `./file.py:Name`.

    The channels are the data's; so is the input size unless given. The outputs are the task's: the classes, or 128
    features of an embedding.
    """

    name: _Name = "nasbench-macro"
    input_size: Annotated[int, Field(ge=4, le=4096)] | None = None
    width: Annotated[float, Field(ge=0.05, le=16)] = 1.0
    outputs: _Count | None = None


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class DataConfig:
    """The data to learn. `train_portion` of the training images train the supernet, the others drive the search.

    By default 0.8, or all of them where the data bring validation images, which then drive the search.
    `augmentation` replaces the data set's own. With `skip_broken_images` files that cannot be read are left out.
    """

    name: _Name = "digits"
    root: _Path = Path("data")
    train_portion: _Fraction | None = None
    augmentation: Augmentation | None = None
    train_images: _Count | None = None
    validation_images: _Count | None = None
    skip_broken_images: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class TrainingConfig:
    """Stochastic gradient descent with Nesterov momentum, linear warm-up and cosine decay.

    The criterion is the task's own unless given. With `images_per_class` batches are balanced: so many images of as
    many classes as fit, as losses on pairs and triplets need it. With `gradient_accumulation` a batch goes through in
    so many parts, one after the other, for batches that do not fit in memory; BatchNorm then sees the parts.

    The accelerator is where training runs; with `mixed_precision` convolutions and products are computed in bfloat16.
    """

    epochs: _Count = 60
    batch_size: _Count = 64
    learning_rate: Annotated[float, Field(gt=0)] = 0.1
    warmup_epochs: Annotated[float, Field(ge=0)] = 2.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    clip_norm: Annotated[float, Field(gt=0)] | None = 5.0
    ema_decay: _Fraction | None = None
    criterion: _Name | None = None
    images_per_class: _Count | None = None
    gradient_accumulation: _Count = 1
    accelerator: Literal["cpu", "cuda"] = "cpu"
    mixed_precision: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class SupernetConfig(TrainingConfig):
    """Settings of the supernet's training."""

    strategy: _Name = "uniform"


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class RetrainConfig(TrainingConfig):
    """Settings of the training of the winner and its references; `inherit` starts from the supernet's weights.

    With a `distillation` above zero the supernet's largest path teaches too: so much of its divergence is added to the
    loss (Hinton et al. 2015), or from its embeddings. Without `references` only winners are trained.

    A `validation_portion` of the training images is not trained on and judges every epoch: the weights of the best
    one are kept. Without one, the default, all images are trained on and the last epoch is kept, or the best one by
    the data's own validation images.
    """

    inherit: bool = False
    distillation: Annotated[float, Field(ge=0)] = 0.0
    references: bool = True
    validation_portion: _Fraction | None = None


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class SearchConfig:
    """Settings of the search of the supernet.

    `recalibration_batches` of the supernet's batch size give each candidate BatchNorm statistics of its own; the
    `finalists` best are measured on the device before one is named the winner. With a `confidence`, predictions leave
    a margin for the errors of the table's certificate. A `generation` of architectures is asked for at a time: an agent
    knows more when asked for fewer, and more actors than that have nothing to do. With `early_stopping` the supernet
    does not look at all validation images of architectures that are certain to be worse than `finalists` others no
    slower; their scores are estimates.

    The evaluator is `supernet`, `short-training` (for `short_epochs`), a proxy of untrained networks, or
    `tabular:FILE`; only the first needs the supernet trained. The `proxies` are features of the predictor: they are
    computed for a sample of architectures, and learnt from it for all others. The executor `ray` evaluates on so many
    `actors` of the cluster at `ray_address`, else of RAY_ADDRESS, else of one on this machine.
    """

    agent: _Name = "predictor"
    evaluator: _Name = "supernet"
    short_epochs: _Count = 2
    executor: Literal["local", "ray"] = "local"
    actors: _Count = 2
    ray_address: str | None = None
    confidence: Annotated[float, Field(ge=0.5, lt=1)] | None = None
    evaluations: _Count = 100
    recalibration_batches: _Count = 8
    finalists: _Count = 8
    generation: _Count = 5
    proxies: tuple[Literal["gradient-norm", "naswot", "synflow", "zen"], ...] = ()
    early_stopping: bool = True


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class TrustConfig:
    """The demand on latency tables: the share of held-out networks that good enough ones predict within 10 %.

    `accept_any` takes a table without a certificate, below the threshold, made while the machine was slowed or under an
    emulator all the same. A table that a run makes for itself and that is not good enough is measured on for
    `extra_minutes` at most, and then taken as it is.
    """

    min_within_10pct: Annotated[float, Field(ge=0, le=1)] = 0.8
    extra_minutes: Annotated[float, Field(ge=0)] = 5.0
    accept_any: bool = False


@dataclass(frozen=True, kw_only=True, slots=True, config=STRICT)
class RunConfig:
    """Everything a run depends on.

    `max_latency` is a duration, 20ms, or a share of what the slowest architecture of the space takes, 60%.
    `max_params` and `max_macs` are numbers (3M, 600M), `max_memory` bounds weights plus activations at their peak
    (64MB), `max_energy` the energy of a forward pass (5mJ), where the table has any. All are hard. Without a `lut` the
    space is profiled first; without a `device` it is the table's, or this machine's CPU. Each of the `budgets`, further
    latencies beside the maximum, gets a winner of its own from the same supernet.
    """

    max_latency: Annotated[str, _checked(Budget.parse)]
    budgets: tuple[Annotated[str, _checked(Budget.parse)], ...] = ()
    max_params: Annotated[str, _checked(parse_count)] | None = None
    max_macs: Annotated[str, _checked(parse_count)] | None = None
    max_memory: Annotated[str, _checked(parse_bytes)] | None = None
    max_energy: Annotated[str, _checked(parse_mj)] | None = None
    space: SpaceConfig = SpaceConfig()
    data: DataConfig = DataConfig()
    device: str | None = None
    devices: _Path | None = None
    lut: _Path | None = None
    trust: TrustConfig = TrustConfig()
    precision: Literal["fp32", "int8"] = "fp32"
    supernet: SupernetConfig = SupernetConfig()
    search: SearchConfig = SearchConfig()
    retrain: RetrainConfig = RetrainConfig()
    task: _Name = "classification"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    out: _Path = Path("runs/default")


_ADAPTER = TypeAdapter(RunConfig)


def load_config(path: Path | None, overrides: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of a YAML file with flags laid over it, or of flags alone.

    Args:
        path: the file, or None.
        overrides: values by dotted name, e.g. `{"supernet.epochs": 3}`.

    Raises:
        RequestError: the file cannot be read, has an unknown key, a wrong type or a value out of range.
    """
    settings = {} if path is None else _read_yaml(path)
    for name, value in overrides.items():
        _set(settings, name.split("."), value)
    where = str(path) if path else "the command line"
    if "max_latency" not in settings:
        raise RequestError(f"no latency budget in {where}; give --max-latency 20ms")
    try:
        # As JSON: there a list may be a tuple and a text a path, and yet true is no number and "1" neither.
        return _ADAPTER.validate_json(json.dumps(settings, default=str), strict=True)
    except ValidationError as error:
        raise RequestError(f"{where}: {_explain(error)}") from error


def parse_setting(text: str) -> tuple[str, Any]:
    """Return the dotted name and the value of a setting such as `retrain.ema_decay=0.99`, written as in YAML.

    Raises:
        RequestError: it is not of that form.
    """
    name, equals, value = text.partition("=")
    try:
        parsed = parse_yaml(value)
    except FileError as error:
        raise RequestError(f"--set {text}: the value is not YAML: {error}") from error
    if not (name.strip() and equals and value.strip()):
        raise RequestError(f"--set needs a name and a value, retrain.ema_decay=0.99; got {text!r}")
    return name.strip(), parsed


def config_as_yaml(config: RunConfig) -> str:
    """Return the resolved configuration as YAML; `load_config` gives it back."""
    return dump_yaml(_ADAPTER.dump_python(config, mode="json"))


def differing_settings(one: RunConfig, other: RunConfig) -> list[str]:
    """Return the dotted names of the settings in which two configurations differ, but for where they are saved."""
    flat_one, flat_other = (_flatten(_ADAPTER.dump_python(c, mode="json")) for c in (one, other))
    return sorted(k for k in flat_one if flat_one[k] != flat_other[k] and k != "out")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path)
    except FileError as error:
        raise RequestError(str(error)) from error
    if not isinstance(content, dict):
        raise RequestError(f"{path} must be a mapping of settings, got {type(content).__name__}")
    return content


def _set(settings: dict[str, Any], names: list[str], value: object) -> None:
    for name in names[:-1]:
        inner = settings.setdefault(name, {})
        if not isinstance(inner, dict):
            return  # validation will say what is wrong with it
        settings = inner
    settings[names[-1]] = value


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in tree.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    names = [str(part) for part in first["loc"]]
    where = ".".join(names)
    if first["type"] == "unexpected_keyword_argument":
        known = _known_keys(names[:-1])
        close = difflib.get_close_matches(names[-1], known, n=1, cutoff=0.0)
        return f"unknown key {where!r}; did you mean {close[0]!r}? There are: {', '.join(known)}"
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" + ("" if "got" in message else f", got {first['input']!r}")


def _known_keys(names: list[str]) -> list[str]:
    record: Any = RunConfig
    for name in names:
        record = get_type_hints(record).get(name)
    return [f.name for f in fields(record)] if is_dataclass(record) else []
