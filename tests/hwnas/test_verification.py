"""Verification: metrics against scikit-learn, held-out classes, and a whole run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from command_line import run_cli
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from samples import synthetic_table
from sklearn.metrics import roc_curve

from hwnas.agents import VerificationAgent
from hwnas.agents.verification import best_threshold_accuracy, true_accept_rate, verification_pairs
from hwnas.criteria import BatchHardTriplet, SmoothedCrossEntropy
from hwnas.dataflow import load_dataset
from hwnas.errors import RequestError
from hwnas.pipeline.run import Run
from hwnas.progress import Reporter
from hwnas.training.trainer import epochs_of
from lut import save_table
from search_spaces import SpaceSpec, make_space

pytestmark = pytest.mark.usefixtures("short_runs")

SCORES = st.lists(st.tuples(st.sampled_from(np.linspace(-1, 1, 9).tolist()), st.booleans()), min_size=2).filter(
    lambda rows: 0 < sum(same for _, same in rows) < len(rows)
)


@given(rows=SCORES)
def test_rates_are_those_of_the_roc_curve(rows: list[tuple[float, bool]]) -> None:
    similarities, is_same = np.array([s for s, _ in rows]), np.array([same for _, same in rows])
    false_rate, true_rate, _ = roc_curve(is_same, similarities, drop_intermediate=False)
    accuracy = (true_rate * is_same.sum() + (1 - false_rate) * (~is_same).sum()) / len(rows)
    assert best_threshold_accuracy(similarities, is_same) == pytest.approx(accuracy.max())
    for limit in (0.01, 0.25):
        assert true_accept_rate(similarities, is_same, limit) == pytest.approx(true_rate[false_rate <= limit].max())


def test_pairs_are_half_the_same_and_never_an_image_with_itself() -> None:
    targets = np.repeat(np.arange(5), [2, 3, 1, 40, 7])
    one, other, is_same = verification_pairs(targets, num=1000)
    assert is_same.sum() == 500 and (one != other).all()
    assert ((targets[one] == targets[other]) == is_same).all()
    counts = np.bincount(targets[one][is_same], minlength=5)
    assert counts[2] == 0 and counts[[0, 1, 3, 4]].min() > 90  # identities count alike
    for targets in (np.zeros(5, int), np.arange(5)):
        with pytest.raises(RequestError, match="verification needs pairs"):
            verification_pairs(targets)


def test_a_perfect_embedding_scores_one() -> None:
    agent = VerificationAgent(criterion=BatchHardTriplet())
    targets = torch.arange(40) % 4
    batches = [(torch.eye(4)[targets], targets)]
    assert agent.metrics(lambda x: x, batches) == {"verification_accuracy": 1.0, "tar_at_far_0.01": 1.0}
    assert agent.metrics(lambda x: torch.ones_like(x), batches)["verification_accuracy"] == 0.5


def test_held_out_classes_are_never_trained_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dataset = load_dataset("digits", Path()).holding_out_classes(0.2, rng)
    train, test = (set(split.targets_N.tolist()) for split in (dataset.train, dataset.test))
    assert (len(train), len(test)) == (8, 2) and not train & test
    assert len(dataset.train) + len(dataset.test) == 1797
    again = dataset.holding_out_classes(0.2, rng)
    assert again is dataset  # divided already
    assert sorted(set(dataset.train.numbered_anew().targets_N.tolist())) == list(range(8))


@pytest.mark.slow
def test_faces_in_a_folder_end_in_a_verified_embedding(tmp_path: Path) -> None:
    """Digits as identities: a folder of images for each, as faces would be."""
    digits = load_dataset("digits", Path()).train
    for index in range(240):
        folder = tmp_path / "faces" / f"person{int(digits.targets_N[index])}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.images()[index, 0].numpy()).resize((16, 16)).save(folder / f"{index}.png")
    spec = SpaceSpec(name="mobilefacenet", input_size=16, in_channels=3, num_classes=32, width=0.25)
    save_table(synthetic_table(make_space(spec), scale_ns=1e8), tmp_path / "t.json")
    (tmp_path / "run.yaml").write_text(
        "task: verification\nmax_latency: 80%\n"
        "space: {name: mobilefacenet, input_size: 16, width: 0.25, outputs: 32}\n"
        f"data: {{name: folder, root: {tmp_path / 'faces'}}}\n"
        "supernet: {epochs: 2, batch_size: 32, images_per_class: 4, criterion: triplet}\n"
        "search: {evaluations: 4, finalists: 2}\n"
        "retrain: {epochs: 6, references: false, batch_size: 32, learning_rate: 0.02, validation_portion: 0.3}\n"
    )
    out = tmp_path / "run"
    outcome = run_cli("search", tmp_path / "run.yaml", "--lut", tmp_path / "t.json", "--out", out, "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    summary = json.loads(outcome.out)
    assert set(summary["test_metrics"]) == {"verification_accuracy", "tar_at_far_0.01"}
    assert summary["test_metrics"]["verification_accuracy"] > 0.6
    assert summary["parity"]["max_abs_difference"] < 1e-4
    session = onnxruntime.InferenceSession(summary["onnx"], providers=["CPUExecutionProvider"])
    assert session.get_outputs()[0].shape == [1, 32]
    assert run_cli("export", out, "--json").out == outcome.out
    records = epochs_of(out / "retrain" / "winner.safetensors")
    best = max(records, key=lambda r: r.score or 0.0)
    assert (summary["epoch"], summary["validation_score"]) == (best.epoch + 1, best.score)
    splits = Run.from_folder(out, Reporter()).splits
    train, validation = (set(s.targets_N.tolist()) for s in (splits.retrain, splits.retrain_validation) if s)
    assert (len(train), len(validation)) == (6, 2) and not train & validation
    assert "Score of each training" in (out / "report.html").read_text()


def _faces(root: Path, people: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    for name, num in people.items():
        folder = root / name
        folder.mkdir(parents=True)
        for i in range(1, num + 1):
            Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(folder / f"{name}_{i:04d}.png")


def test_pairs_of_a_file_are_compared(tmp_path: Path) -> None:
    _faces(tmp_path / "train", {"ann": 3, "bob": 3})
    _faces(tmp_path / "test", {"cyd": 4, "dan": 2})
    (tmp_path / "pairs.txt").write_text("10 300\ncyd 1 4\ncyd 2 dan 1\ndan/dan_0001.png dan/dan_0002.png\n\n")
    dataset = load_dataset("folder", tmp_path, input_size=8)
    assert dataset.classes == ("ann", "bob", "cyd", "dan")
    assert dataset.test_pairs is not None and dataset.test_pairs.tolist() == [[0, 3], [1, 4], [4, 5]]
    assert dataset.holding_out_classes(0.2, np.random.default_rng(0)) is dataset
    agent = VerificationAgent(criterion=SmoothedCrossEntropy()).for_pairs(dataset.test_pairs)
    # Images 0 and 3, and 4 and 5, look alike; 1 and 4 do not.
    embeddings = torch.tensor([[1.0, 0], [1, 1], [0, 1], [1, 0], [-1, 0], [-1, 0]])
    metrics = agent.metrics(lambda x: embeddings, [(torch.zeros(6, 3, 8, 8), dataset.test.targets_N)])
    assert metrics["verification_accuracy"] == 1.0
    swapped = embeddings[[0, 5, 2, 4, 1, 3]]
    assert agent.metrics(lambda x: swapped, [(torch.zeros(6, 3, 8, 8), dataset.test.targets_N)]) != metrics


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ("cyd 1 9\n", r"line 1: no image cyd/cyd_0009"),
        ("cyd 1 4\nwhat is this line\n", r"line 2: expected two images"),
        ("\n10 300\n", r"names no pairs"),
        ("../train/ann/ann_0001 cyd/cyd_0001\n", r"no image ../train"),
    ],
)
def test_bad_pairs_are_refused(pairs: str, words: str, tmp_path: Path) -> None:
    _faces(tmp_path / "train", {"ann": 3, "bob": 3})
    _faces(tmp_path / "test", {"cyd": 4, "dan": 2})
    (tmp_path / "pairs.txt").write_text(pairs)
    with pytest.raises(RequestError, match=words):
        load_dataset("folder", tmp_path, input_size=8)


def test_pairs_of_identities_trained_on_are_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        _faces(tmp_path / part, dict.fromkeys("abcdef", 2))
    (tmp_path / "pairs.txt").write_text("a 1 2\na 1 b 1\n")
    dataset = load_dataset("folder", tmp_path, input_size=8)
    with pytest.raises(RequestError, match=r"trained on too"):
        dataset.holding_out_classes(0.2, np.random.default_rng(0))


def test_classifying_classes_never_trained_on_is_refused(tmp_path: Path) -> None:
    _faces(tmp_path / "data" / "train", {"ann": 3, "bob": 3})
    _faces(tmp_path / "data" / "test", {"cyd": 4, "dan": 2})
    flags = ("--data", "folder", "--data-root", tmp_path / "data", "--max-latency", "60%", "--out", tmp_path / "run")
    outcome = run_cli("search", *flags)
    assert outcome.code == 2 and "tests classes none of which is trained on" in outcome.err, outcome.err
