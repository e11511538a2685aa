"""Spaces written as YAML, and components named by where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import SpaceError, SpaceSpec, make_space
from search_spaces.cost import GraphCosts, module_cost
from search_spaces.yaml_space import FAMILIES

NASBENCH_MACRO = """\
x-choices: &c [skip, {mbconv: {kernel: 3, expansion: 3}}, {mbconv: {kernel: 5, expansion: 6}}]
description: the networks of NAS-Bench-Macro
stem: [{conv: {kernel: 3, act: relu}, out: 32}]
layers:
  - {out: 64, stride: 2, repeat: 2, choices: *c}
  - {out: 128, stride: 2, repeat: 3, choices: *c}
  - {out: 256, stride: 2, repeat: 3, choices: *c}
head: [{head: {hidden: 1280}}]
"""


def _spec(path: Path, text: str, **changes: object) -> SpaceSpec:
    path.write_text(text, encoding="utf-8")
    return SpaceSpec(**{"name": str(path), "input_size": 32, "num_classes": 10, **changes})


def test_a_written_space_is_the_built_in_of_the_same_blocks(tmp_path: Path) -> None:
    written = make_space(_spec(tmp_path / "s.yaml", NASBENCH_MACRO))
    built_in = make_space(SpaceSpec(name="nasbench-macro", input_size=32, num_classes=10))
    assert [b.key for b in written.candidates] == [b.key for b in built_in.candidates]
    architectures = written.sample_many(50, np.random.default_rng(0))
    np.testing.assert_array_equal(written.block_indices(architectures), built_in.block_indices(architectures))
    assert written.decisions[0].choices == ("skip", "mbconv_k3_e3", "mbconv_k5_e6")


def test_a_written_space_trains_and_builds(tmp_path: Path) -> None:
    text = """
stem: [{conv: {kernel: 3, act: hswish}, out: 16, early_stride: 2}]
layers:
  - {out: 16, early_stride: 2, repeat: 2, choices: [{sepconv: {kernel: 3}}, {mixconv: {kernels: [3, 5]}}]}
  - {out: 24, stride: 2, choices: [{mbconv: {kernel: 5, expansion: 2, se_ratio: 0.25}}, skip]}
head: [{conv: {kernel: 1}, out: 64}, pool, classifier]
"""
    for size, pixels in ((32, 16), (96, 12)):
        space = make_space(_spec(tmp_path / "s.yml", text, input_size=size))
        x_NCHW = torch.zeros(2, 3, size, size)
        architecture = (1, 0, 1)
        assert space.supernet()(x_NCHW, architecture).shape == (2, 10)
        assert space.blocks(architecture)[4].input_size == pixels
        assert GraphCosts(space).of(architecture) == module_cost(space.build(architecture), x_NCHW[:1])
    # Layers of other choices than the rest are told by number.
    assert space.decisions[0].choices == ("choice0", "choice1")


HEADS = [
    *((f"hidden: {value}", "head.hidden must be") for value in (-5, 0, 1.5, "x", "true", "1e30", 10**9, "[1]", "null")),
    ("hidden: 8, act: 3", "head.act must be a text"),
]
BOTTLENECKS = [
    *((f"expansion: 2, se_ratio: {value}", "mbconv.se_ratio must be") for value in (-1, 2, ".nan", "x", "true", "[1]")),
    *((f"expansion: {value}", "mbconv.expansion must be") for value in (0, 2.5, "x", "true", 10**30)),
    *((f"expansion: 2, groups: {value}", "mbconv.groups must be|do not divide") for value in (0, -1, "x", 3)),
]
KERNELS = [3, "x", [], [4], ["x"], [[3]], [True], [5, 3]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layers: []", "layers: List should have at least 1 item"),
        ("stem: []", "layers: "),
        ("- 1", "the file: "),
        ("layers: [{out: 8, choices: [mbconv]}]", r"missing .* 'kernel' and 'expansion'"),
        ("layers: [{out: 8, choices: [nothing]}]", "unknown block family 'nothing'; there are: attention, classifier"),
        ("layers: [{out: 8, choices: [{mbconv: {kernel: 3, expand: 2}}]}]", "mbconv has no 'expand'; its fields: act"),
        ("layers: [{out: 8, choices: [{mbconv: {kernel: 4, expansion: 2}}]}]", r"kernel must be one of 3, 5, 7"),
        ("stem: [conv]\nlayers: [{out: 8, choices: [skip]}]", "conv needs its output channels"),
        ("layers: [{out: 8, choices: [skip, {mbconv: 3}]}]", "a block is its family with its fields"),
        ("layers: [{out: 8, choices: [skip], strides: 2}]", "strides: Unexpected keyword"),
        ("layers: [{out: 8, choices: [skip]}]", "head: expected a block that gives the classes"),
        ("layers: [{out: 8, choices: [skip]}]\nhead: [pool]", "head: expected a block that gives the classes"),
        ("stem: [{conv: {kernel: 3}, out: 8, early_stride: x}]\nlayers: [{out: 8, choices: [skip]}]", "early_stride: "),
        ("stem: [{conv: {kernel: 3}, out: 8, stride: true}]\nlayers: [{out: 8, choices: [skip]}]", "stride: "),
        ("stem: [{conv: {kernel: 3}, out: '8'}]\nlayers: [{out: 8, choices: [skip]}]", "out: Input should be"),
        ("stem: [{conv: {kernel: 3}, out: -8}]\nlayers: [{out: 8, choices: [skip]}]", "out: Input should be"),
        (
            "layers: [{out: 8, choices: [skip], repeat: 256}" + ", {out: 8, choices: [skip], repeat: 256}" * 3 + "]",
            "most",
        ),
        *((f"layers: [{{out: 8, choices: [skip]}}]\nhead: [{{head: {{{f}}}}}]", w) for f, w in HEADS),
        *((f"layers: [{{out: 8, choices: [{{mbconv: {{kernel: 3, {f}}}}}]}}]", w) for f, w in BOTTLENECKS),
        *((f"layers: [{{out: 8, choices: [{{mixconv: {{kernels: {k}}}}}]}}]", "mixconv.kernels") for k in KERNELS),
        ("layers: [", "is not YAML"),
        ("layers: [{out: 8, choices: [skip, pool]}]", r"blocks do not fit|must be one of"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        make_space(_spec(tmp_path / "s.yaml", text))
    assert "s.yaml" in str(caught.value)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 99) | st.sampled_from([*FAMILIES, "out", "kernel"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["layers", "choices", "out", "stride", "head", "mbconv", "kernel"]), inner)
    ),
    max_leaves=12,
)


@given(content=_json)
def test_any_file_is_a_space_or_a_clear_error(content: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    try:
        make_space(_spec(path, yaml.safe_dump(content)))
    except SpaceError as error:
        assert "any.yaml" in str(error)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match=r"cannot read .*none\.yaml: No such file"):
        make_space(SpaceSpec(name=str(tmp_path / "none.yaml"), input_size=32, num_classes=10))


def test_a_space_of_ones_own_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from dataclasses import replace\nfrom search_spaces import make_space\n"
        "def mine(spec):\n    return make_space(replace(spec, name='fbnet-s'))\n"
    )
    spec = SpaceSpec(name=f"{path}:mine", input_size=32, num_classes=10)
    assert len(make_space(spec).decisions) == 22
    for name, message in (
        (f"{path}:other", "has no 'other'"),
        (f"{tmp_path}/no.py:mine", "no file"),
        ("no_such_package.x:y", "No module named"),
    ):
        with pytest.raises(SpaceError, match=message):
            make_space(SpaceSpec(name=name, input_size=32, num_classes=10))
