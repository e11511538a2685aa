"""Every kind of file that is read: an example, its reader, and the errors that reading may end in."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import onnx
import torch
import yaml
from image_folders import fill_classes
from mutations import as_text, damaged, distorted
from onnx import TensorProto, helper
from samples import small_spec, synthetic_table

from hwnas.artifacts import Deployment, Exported, RunTimes, ShownPredictions, Summary
from hwnas.config_file import load_config
from hwnas.dataflow import load_dataset
from hwnas.dataflow.pairs import read_pairs
from hwnas.errors import LaterVersionError, RequestError, RunError
from hwnas.evaluators.tabular import load_tabular
from hwnas.records import read_record
from hwnas.search.history import read_history
from hwnas.training.checkpoint import load_checkpoint, save_checkpoint
from hwnas.training.trainer import epochs_of
from lut import LatencyModel, TableError, load_table, save_table
from lut.build import certificate_of, finished
from lut.importers import import_table
from lut.machine import describe_machine
from lut.overview import describe_table
from onnx_models.binding import Sizes, bind
from onnx_models.errors import ModelError
from profilers import Model
from profilers.collection import collect
from profilers.device import load_devices
from profilers.errors import DeviceError, JournalError, WorkerLostError
from profilers.events import Round, parse_event
from profilers.journal import Journal
from profilers.worker_onnxruntime import DTYPES
from safe_files.code_trust import code_limited_to
from search_spaces import SpaceError, SpaceSpec, make_space

Change = Callable[[bytes, Random], bytes]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of file.

    Attributes:
        make: writes an example into a folder.
        read: reads what is there, as commands do.
        errors: what reading may end in.
        change: one of the files.
        is_sealed: a change is refused, or has made no difference.
    """

    make: Callable[[Path], None]
    read: Callable[[Path], object]
    errors: tuple[type[Exception], ...]
    change: Change = damaged
    is_sealed: bool = False


def _text_or_bytes(content: bytes, random: Random) -> bytes:
    """Damaged bytes, or a changed meaning."""
    return (
        damaged(content, random)
        if random.random() < 0.4
        else as_text(distorted(yaml.safe_load(content), random), random)
    )


def _lines(content: bytes, random: Random) -> bytes:
    """Damaged bytes, or lines that say something else, are there twice, or are missing."""
    if random.random() < 0.4:
        return damaged(content, random)
    lines = content.splitlines(keepends=True)
    place = random.randrange(len(lines))
    if random.random() < 0.3:
        lines[place : place + 1] = random.choice(([], [lines[place]] * 2))
    else:
        lines[place] = as_text(distorted(json.loads(lines[place]), random), random) + b"\n"
    return b"".join(lines)


SPACE = make_space(small_spec("nasbench-macro"))


def _make_table(folder: Path) -> None:
    save_table(finished(synthetic_table(SPACE), SPACE), folder / "t.json")


def _read_table(folder: Path) -> object:
    table = load_table(folder / "t.json")
    assert json.dumps(describe_table(table, SPACE if table.space == SPACE.spec else None), allow_nan=False)
    if table.space == SPACE.spec:
        describe_machine(table, SPACE)
        certificate_of(table, SPACE)
        LatencyModel(SPACE, table)
    return table


def _signed(content: bytes, random: Random) -> bytes:
    """A table that says something else under a valid checksum."""
    document = json.loads(content)
    document["table"] = distorted(document["table"], random)
    text = json.dumps(document["table"], separators=(",", ":"), sort_keys=True)
    document["sha256"] = hashlib.sha256(f"2:{text}".encode()).hexdigest()
    return json.dumps(document).encode()


IDENTITY = {"space": "x", "models": ["a", "b"]}


def _make_journal(folder: Path) -> None:
    journal = Journal(folder / "j", IDENTITY, groups=[[0, 1]])
    for number in range(4):
        told = {"order": (1, 0), "wall_ns": (100, 200 + number), "cpu_ns": (100, 200), "first_ns": (300, 300)}
        journal.add_round(0, 0, Round(event="round", pace=(5, 5), **told))
    journal.add_failure(1, "crashed")
    journal.add_pace([5, 6], [5, 6])
    journal.close()


def _read_journal(folder: Path) -> object:
    (folder / "copy").write_bytes((folder / "j").read_bytes())
    try:
        journal = Journal(folder / "copy", IDENTITY, groups=[[0, 1]])
        journal.close()
        if not journal.rounds:
            return None  # nothing is collected before something is measured
        return collect([Model(key=key, path=folder / key) for key in "ab"], journal)
    finally:
        (folder / "copy").unlink()


def _make_config(folder: Path) -> None:
    text = (
        "max_latency: 20ms\nbudgets: [40%]\nspace: {name: fbnet-s, width: 0.5}\ndata: {name: digits, root: data}\n"
        "supernet: {epochs: 3, strategy: uniform}\nsearch: {agent: evolution, evaluations: 10}\n"
        "retrain: {epochs: 2, ema_decay: 0.9}\ntrust: {accept_any: true}\nseed: 3\nout: runs/x\n"
    )
    (folder / "c.yaml").write_text(text)


DEVICES = """
pi: {runtime: onnxruntime, threads: 2, cores: [0, 1], ssh: {host: pi, options: [-p, "22"]}}
emulated: {runtime: onnxruntime, command: [qemu, python3], copy: [cp], emulated: true}
board: {runtime: tvm, target: native, rpc: {host: localhost, port: 9090, tracker: true, key: pi}}
"""

YAML_SPACE = """
stem: [{conv: {kernel: 3, act: relu}, out: 16, stride: 2}]
layers:
  - {out: 16, early_stride: 2, repeat: 2, choices: [{mbconv: {kernel: 3, expansion: 3, se_ratio: 0.25}}, skip]}
  - {out: 32, stride: 2, choices: [{mixconv: {kernels: [3, 5]}}, {sepconv: {kernel: 3}}, {shuffle: {kernel: 3}}]}
head: [{conv: {kernel: 1, act: relu, norm: true}, out: 64}, pool, {head: {hidden: 32}}]
"""


def _read_space(folder: Path) -> object:
    with code_limited_to([]):
        space = make_space(SpaceSpec(name=str(folder / "s.yaml"), input_size=32, num_classes=10))
    blocks = space.blocks(space.sample(np.random.default_rng(0)))
    return [block.key for block in blocks]


def _published(kind: str) -> str:
    block = "expanded_conv-input:112x112x{}-output:112x112x16-expand:{}-kernel:3-stride:1-idskip:0"
    names = {"once-for-all": f"{block.format(16, 16)}-se:0-hs:0", "proxylessnas": block.format(32, 1)}
    row = "{mean: 1.5, std: 0.1, count: 10}" if kind == "once-for-all" else "{mean: 1.5, var: 0.1, count: 10}"
    others = ("Conv-input:224x224x3-output:112x112x32", "Logits-input:7x7x1280-output:1000")
    return "".join(f"{name}: {row}\n" for name in (*others, names[kind]))


def _make_npz(folder: Path) -> None:
    names = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    digits = np.array(np.unravel_index(np.arange(5**6), (5,) * 6)).T
    texts = ["|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*(names[d] for d in row)) for row in digits.tolist()]
    values = np.linspace(10, 90, 5**6)
    columns = {"val_acc_cifar10": values, "test_acc_cifar10": values, "lat_pixel3": values}
    np.savez_compressed(folder / "b.npz", arch=np.array(texts), **columns)


def _make_macro(folder: Path) -> None:
    rows = ("".join(map(str, np.unravel_index(i, (3,) * 8))) for i in range(3**8))
    (folder / "b.json").write_text(
        json.dumps({row: {"mean_acc": 90.0, "flops": 10**6 + i, "params": 10**5} for i, row in enumerate(rows)})
    )


def _somewhere(content: bytes, random: Random) -> bytes:
    """Long files mostly where they begin and end."""
    place = random.choice((0, len(content) - 400, random.randrange(len(content))))
    part = content[place : place + 400]
    return content[:place] + damaged(part, random) + content[place + 400 :]


def _make_cifar(folder: Path) -> None:
    for suffix, mode in ((".gz", "w:gz"), (".xz", "w:xz")):
        (folder / suffix[1:]).mkdir()
        with tarfile.open(folder / suffix[1:] / f"cifar-10-binary.tar{suffix}", mode) as tar:
            names = "".join(f"class{label}\n" for label in range(10)).encode()
            records = b"".join(bytes([label]) + bytes([20 * label]) * 3072 for label in range(10))
            files = dict.fromkeys([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"], records)
            for name, content in {**files, "batches.meta.txt": names}.items():
                member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _read_cifar(folder: Path) -> object:
    for place in ("gz", "xz"):
        load_dataset("cifar10", next((folder / place).iterdir()))
    return None


def _make_idx(folder: Path) -> None:
    for prefix in ("train", "t10k"):
        images = np.arange(20 * 16, dtype=np.uint32).astype(np.uint8)
        head = bytes([0, 0, 8, 3]) + np.array([20, 4, 4], dtype=">u4").tobytes()
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(head + images.tobytes()))
        labels = bytes([0, 0, 8, 1]) + np.array([20], dtype=">u4").tobytes() + bytes(i % 4 for i in range(20))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)


def _make_images(folder: Path) -> None:
    from PIL import Image

    fill_classes(folder)
    random = Random(0)
    for suffix in ("jpg", "bmp", "gif", "webp", "tif", "png", "ppm"):
        pixels = bytes(random.randrange(256) for _ in range(16 * 16 * 3))
        Image.frombytes("RGB", (16, 16), pixels).save(folder / "cats" / f"colour.{suffix}")


PAIRED = [Path("test") / name for name in ("ann/ann_0001.png", "ann/ann_0002.png", "bob/bob_0001.png")]


def _make_pairs(folder: Path) -> None:
    (folder / "pairs.txt").write_text("ann 1 2\nann 1 bob 1\nann/ann_0001.png bob/bob_0001.png\n")


def _make_onnx(folder: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, (2, 3, 3, 3), np.linspace(-1, 1, 54))
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("GlobalAveragePool", ["c"], ["y"])]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", 1, ["batch", 3, 8, 8])], [value("y", 1, ["batch", 2, 1, 1])], [weight]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "m.onnx")


def _read_onnx(folder: Path) -> object:
    from onnx_models.external_data import size_bytes

    with tempfile.TemporaryDirectory() as scratch:
        bound = bind(folder / "m.onnx", Path(scratch), Sizes(side=8), types=DTYPES)
        return size_bytes(bound.fixed)


def _make_history(folder: Path) -> None:
    (folder / "h.jsonl").write_text(
        "".join(
            json.dumps({"architecture": [i, 1], "score": 0.5, "costs": {"latency_ms": 1.5}, "parts": [0.5]}) + "\n"
            for i in range(5)
        )
    )


def _make_checkpoint(folder: Path) -> None:
    tensors = {"module.weight": torch.ones(3, 2), "momentum.weight": torch.zeros(3, 2)}
    save_checkpoint(
        folder / "c.safetensors", tensors, {"epochs": [[0, 0.5, 0.1, 100.0, None], [1, 0.4, 0.1, 90.0, 0.5]]}
    )


def _read_checkpoint(folder: Path) -> object:
    load_checkpoint(folder / "c.safetensors")
    return epochs_of(folder / "c.safetensors")


NETWORK = {
    **{"test_accuracy": 0.9, "measured_ms": 1.0, "measured_table_ms": 1.0, "predicted_ms": 1.1, "repeatability": 0.01},
    **{"architecture": [0, 1], "choices": ["a", "b"], "supernet_score": 0.5, "test_metrics": {"accuracy": 0.9}},
    **{"drift": None, "max_latency_ms": 2.0, "budget_kept": True, "advice": None, "params": 1000, "macs": 10000},
}
PARITY = {"max_abs_difference": 1e-6, "max_abs_output": 1.0, "equal_predictions": 1.0, "num_images": 10}


def _make_results(folder: Path) -> None:
    summary = {
        **NETWORK,
        **{"device": "cpu", "parity": PARITY, "winners": {}, "references": {"random": NETWORK}},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    model = {"test_metrics": {"a": 0.9}, "measured_ms": None, "size_bytes": 9, "purpose": "x", "sha256": "0" * 64}
    (folder / "deployment.json").write_text(json.dumps({"models": {"model.onnx": model}}))
    exported = {"architecture": [0, 1], "first_ms": None, "measured_ms": 1.0, "repeatability": 0.01, "drift": 1.0}
    (folder / "result.json").write_text(json.dumps({"parity": {"m": PARITY}, "networks": {"winner": exported}}))
    view = {"kind": 1, "boxes": [{"kind": 0, "box": [1, 2, 3.5, 4], "score": 0.5}], "mask": ""}
    image = {"group": "worst", "png": "", "width": 9, "height": 9, "score": 0.5, "target": view, "prediction": view}
    shown = {"classes": ["a", "b"], "measure": "m", "num_images": 3, "confusion": [[0, 1, 2]], "images": [image]}
    (folder / "predictions.json").write_text(json.dumps(shown))
    times = {"began": "2026-01-31T12:00:00+00:00", "ended": None, "failure": "x"}
    (folder / "times.json").write_text(json.dumps(times))


def _read_results(folder: Path) -> object:
    read_record(Summary, folder / "summary.json")
    read_record(Deployment, folder / "deployment.json")
    read_record(ShownPredictions, folder / "predictions.json")
    read_record(RunTimes, folder / "times.json")
    return read_record(Exported, folder / "result.json")


def _writer(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text)

    return write


WORKER = (
    '{"event": "started", "worker": "onnxruntime", "runtime": "1.32", "health": {"temperature_c": 40.0}}\n'
    '{"event": "opened", "index": 0, "outputs": [[0.5, -1.0, null]]}\n'
    '{"event": "visiting", "index": 0}\n'
    '{"event": "round", "order": [0], "wall_ns": [100], "cpu_ns": [90], "pace": [5, 5], "first_ns": [200]}\n'
    '{"event": "pace", "wall_ns": [5, 6], "cpu_ns": [5, 6]}\n'
    '{"event": "failed", "index": 0, "message": "crashed"}\n'
)


def _read_worker(folder: Path) -> object:
    return [parse_event(line) for line in (folder / "answers").read_bytes().splitlines()]


REQUEST = (RequestError,)

KINDS = {
    "table": Kind(make=_make_table, read=_read_table, errors=(TableError,), is_sealed=True),
    "signed table": Kind(make=_make_table, read=_read_table, errors=(TableError, SpaceError), change=_signed),
    "journal": Kind(make=_make_journal, read=_read_journal, errors=(JournalError,), change=_lines),
    "worker": Kind(make=_writer("answers", WORKER), read=_read_worker, errors=(WorkerLostError,), change=_lines),
    "config": Kind(
        make=_make_config, read=lambda f: load_config(f / "c.yaml", {}), errors=REQUEST, change=_text_or_bytes
    ),
    "devices": Kind(
        make=_writer("d.yaml", DEVICES),
        read=lambda f: load_devices(f / "d.yaml"),
        errors=(DeviceError,),
        change=_text_or_bytes,
    ),
    "space": Kind(make=_writer("s.yaml", YAML_SPACE), read=_read_space, errors=(SpaceError,), change=_text_or_bytes),
    "once-for-all": Kind(
        make=_writer("p.yaml", _published("once-for-all")),
        read=lambda f: import_table("once-for-all", f / "p.yaml", may_be_partial=True),
        errors=(TableError,),
        change=_text_or_bytes,
    ),
    "proxylessnas": Kind(
        make=_writer("p.yaml", _published("proxylessnas")),
        read=lambda f: import_table("proxylessnas", f / "p.yaml", may_be_partial=True),
        errors=(TableError,),
        change=_text_or_bytes,
    ),
    "macro": Kind(make=_make_macro, read=lambda f: load_tabular(f / "b.json"), errors=REQUEST, change=_somewhere),
    "npz": Kind(make=_make_npz, read=lambda f: load_tabular(f / "b.npz"), errors=REQUEST, change=_somewhere),
    "cifar": Kind(make=_make_cifar, read=_read_cifar, errors=REQUEST),
    "idx": Kind(make=_make_idx, read=lambda f: load_dataset("idx", f), errors=REQUEST),
    "images": Kind(
        make=_make_images,
        read=lambda f: load_dataset("folder", f, input_size=8),
        errors=REQUEST,
    ),
    "pairs": Kind(
        make=_make_pairs,
        read=lambda f: read_pairs(f / "pairs.txt", Path("test"), PAIRED),
        errors=REQUEST,
    ),
    "onnx": Kind(make=_make_onnx, read=_read_onnx, errors=(ModelError,)),
    "history": Kind(make=_make_history, read=lambda f: read_history(f / "h.jsonl"), errors=(RunError,), change=_lines),
    "checkpoint": Kind(make=_make_checkpoint, read=_read_checkpoint, errors=(RunError,)),
    "results": Kind(
        make=_make_results, read=_read_results, errors=(RunError, LaterVersionError), change=_text_or_bytes
    ),
}
"""By the name that counts are printed under."""
