"""One contract suite over every search space."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise
from pathlib import Path

import networkx
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from samples import small_spec

from hwnas.training.inheritance import inherit_weights
from lut.networks import draw_networks
from onnx_models.image_size import height_width
from search_spaces import SPACES, SearchSpace, SpaceError, SpaceSpec, make_space
from search_spaces.cost import GraphCosts, block_cost, module_cost
from search_spaces.nasbench201 import EDGES, OPERATIONS, NasBench201, every_cell
from search_spaces.onnx_export import export_network
from search_spaces.overview import describe_space
from search_spaces.supernet import MixableSupernet
from search_spaces.wiring import IMAGE


def _samples(space: SearchSpace, num: int = 10) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(num)]


def test_samples_are_valid_and_reproducible(space: SearchSpace) -> None:
    assert _samples(space) == _samples(space)
    assert len(set(_samples(space))) == 10
    for architecture in _samples(space):
        assert space.validated(architecture) == architecture
        assert len(space.describe(architecture)) == len(space.decisions)


def test_many_samples_cover_all_choices(space: SearchSpace) -> None:
    drawn = space.sample_many(3000, np.random.default_rng(0))
    for column, decision in zip(drawn.T, space.decisions, strict=True):
        assert set(column) == set(range(len(decision.choices)))


def test_costs_of_blocks_sum_to_those_of_the_built_network(space: SearchSpace) -> None:
    costs, spec = GraphCosts(space), space.spec
    x_NCHW = torch.zeros(1, spec.in_channels, spec.input_size, spec.input_size)
    for architecture in _samples(space, 4):
        assert costs.of(architecture) == module_cost(space.build(architecture), x_NCHW)


def test_neighbouring_blocks_fit(space: SearchSpace) -> None:
    if space.wiring is not None:
        pytest.skip("its blocks fit by its wiring: see below")
    for architecture in _samples(space):
        blocks = [block for block in space.blocks(architecture) if not block.is_identity]
        assert blocks[0].input_shapes[0] == (space.spec.in_channels, *height_width(space.input_size(architecture)))
        assert blocks[-1].output_shape == (space.spec.num_classes,)
        for before, after in pairwise(blocks):
            assert before.output_shape == after.input_shapes[0]


def test_wired_blocks_fit(space: SearchSpace) -> None:
    if space.wiring is None:
        pytest.skip("its blocks are a chain, or connected in other ways in each network")
    for architecture in _samples(space):
        blocks = space.blocks(architecture)
        outputs = {IMAGE: space.spec.input_shape} | {i: block.output_shape for i, block in enumerate(blocks)}
        for block, sources in zip(blocks, space.wiring.sources, strict=True):
            assert block.input_shapes == tuple(outputs[source] for source in sources)


def test_vectorised_sums_equal_sums_over_blocks(space: SearchSpace) -> None:
    values = np.random.default_rng(1).random(len(space.candidates))
    value_of = dict(zip(space.candidates, values, strict=True))
    architectures = space.sample_many(50, np.random.default_rng(2))
    sums = space.block_sum(values, architectures)
    expected = [sum(value_of[b] for b in space.blocks(tuple(a))) for a in architectures.tolist()]
    np.testing.assert_allclose(sums, expected, rtol=1e-12)
    np.testing.assert_allclose(sums, SearchSpace.block_sum(space, values, architectures), rtol=1e-12)


def test_canonical_form_is_stable_and_names_the_same_network(space: SearchSpace) -> None:
    for architecture in _samples(space, 200):
        form = space.canonical(architecture)
        assert space.canonical(form) == form
        one, other = space.paths(np.array([architecture, form]))
        np.testing.assert_array_equal(one, other)
        kept = [b.key for b in space.blocks(architecture) if not b.is_identity]
        found = [b.key for b in space.blocks(form) if not b.is_identity]
        assert (found if space.is_chain else sorted(found)) == (kept if space.is_chain else sorted(kept))


def test_segments_choose_their_slots_and_nothing_else(space: SearchSpace) -> None:
    rng = np.random.default_rng(5)
    for segment in space.segments:
        one = space.sample_many(30, rng)
        other = one.copy()
        columns = list(segment.decisions)
        other[:, columns] = space.sample_many(30, rng)[:, columns]
        differs = (space.block_indices(one) != space.block_indices(other)).any(axis=0)
        assert set(np.flatnonzero(differs)) <= set(segment.slots)
    parts = [space.common_decisions, *(segment.decisions for segment in space.segments)]
    assert [i for part in parts for i in part] == list(range(len(space.decisions)))


def test_supernet_path_computes_what_the_inheriting_network_computes(space: SearchSpace) -> None:
    torch.manual_seed(0)
    supernet = space.supernet().train()  # with statistics of the batch, so that no activations vanish
    x_NCHW = torch.randn(4, space.spec.in_channels, space.spec.input_size, space.spec.input_size)
    for architecture in _samples(space, 2):
        network = space.build(architecture).train()
        assert not torch.allclose(network(x_NCHW), supernet(x_NCHW, architecture))
        inherit_weights(network, supernet, architecture)
        torch.testing.assert_close(network(x_NCHW), supernet(x_NCHW, architecture), rtol=1e-4, atol=1e-6)


def test_supernet_gives_gradients_to_the_path_alone(space: SearchSpace) -> None:
    supernet = space.supernet()
    if not isinstance(supernet, MixableSupernet):
        pytest.skip("its subnets are slices of weights")
    architecture = _samples(space, 1)[0]
    x_NCHW = torch.randn(4, space.spec.in_channels, space.spec.input_size, space.spec.input_size)
    supernet(x_NCHW, architecture).sum().backward()
    on_path = {id(p) for module in supernet.path(architecture) for p in module.parameters()}
    assert {id(p) for p in supernet.parameters() if p.grad is not None} == on_path


def test_overview_holds_for_samples(space: SearchSpace) -> None:
    overview, costs = describe_space(space), GraphCosts(space)
    architectures = space.sample_many(300, np.random.default_rng(3))
    for name, values in (("macs", costs.macs(architectures)), ("params", costs.params(architectures))):
        assert overview[f"min_{name}"] <= values.min() <= values.max() <= overview[f"max_{name}"]


@pytest.mark.parametrize("name", sorted(SPACES))
def test_width_scales_channels(name: str) -> None:
    def macs(width: float) -> int:
        space = make_space(SpaceSpec(name=name, input_size=32, num_classes=10, width=width))
        return sum(block_cost(block).macs for block in space.blocks((0,) * len(space.decisions)))

    assert macs(0.5) < macs(1.5)


def test_wrong_architectures_are_refused(space: SearchSpace) -> None:
    good = _samples(space, 1)[0]
    with pytest.raises(SpaceError, match=f"are {len(good)} integers each"):
        space.validated(good[:-1])
    with pytest.raises(SpaceError, match="has choices 0 to"):
        space.validated((99, *good[1:]))
    with pytest.raises(SpaceError, match="has choices 0 to"):
        space.validated((-1, *good[1:]))


def test_unknown_space_and_impossible_numbers_are_refused() -> None:
    with pytest.raises(SpaceError, match="unknown search space 'fbnet'; there are: autoformer, fbnet-l"):
        make_space(SpaceSpec(name="fbnet", input_size=32, num_classes=10))
    with pytest.raises(SpaceError, match="integer from 1 to 1000000, got 0"):
        SpaceSpec(name="fbnet-s", input_size=32, num_classes=0)
    with pytest.raises(SpaceError, match=r"between 0\.05 and 16, got 99"):
        SpaceSpec(name="fbnet-s", input_size=32, num_classes=10, width=99)


def test_nasbench201_has_as_many_distinct_networks_as_its_graphs() -> None:
    """Equal graphs compute the same: with the same weights on the edges that are left."""
    space = make_space(small_spec("nasbench201"))
    cells = every_cell()
    assert len(cells) == space.num_architectures == 15_625
    assert space.canonical(NasBench201.parse("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|")) == (0,) * 6
    # Input to node 1 to output, and input to node 2 to output, are the same network.
    through_1, through_2 = (3, 0, 0, 0, 1, 0), (0, 3, 0, 0, 0, 1)
    assert space.canonical(through_1) == space.canonical(through_2)
    x_NCHW = torch.randn(2, 1, 16, 16)
    torch.manual_seed(0)
    one = space.build(through_1).eval()
    torch.manual_seed(0)
    other = space.build(through_2).eval()
    torch.testing.assert_close(one(x_NCHW), other(x_NCHW))
    assert 6_000 < len({space.canonical(c) for c in cells}) < 12_000


def test_every_cell_has_the_blocks_of_its_canonical_form() -> None:
    space = make_space(small_spec("nasbench201"))
    cells = np.array(every_cell())
    forms = np.array([space.canonical(cell) for cell in every_cell()])
    blocks, of_forms = (np.sort(space.block_indices(rows), axis=1) for rows in (cells, forms))
    differing = cells[(blocks != of_forms).any(axis=1)]
    assert len(differing) == 0, differing[:5]


def test_cells_whose_inner_nodes_trade_places_compute_the_same() -> None:
    """To the last bit: the three results that may reach the output node are added in one order."""
    space = make_space(small_spec("nasbench201"))
    traded = {0: 1, 1: 0, 2: 2, 3: 3, 4: 5, 5: 4}
    x_NCHW = torch.randn(2, 1, 16, 16)
    apart = [c for c in every_cell() if c[2] == 0 and c.count(0) == 1]  # with no edge but that between the two missing
    is_traded = [c for c in apart if space.canonical(c) != c]
    assert len(is_traded) > 400
    torch.manual_seed(0)
    for cell in is_traded[::60]:
        network, of_form = space.build(cell).eval(), space.build(space.canonical(cell)).eval()
        weights = {}
        for name, tensor in network.state_dict().items():
            found = re.fullmatch(r"(\d+\.operations\.)(\d)(_.*)", name)
            weights[name if found is None else f"{found[1]}{traded[int(found[2])]}{found[3]}"] = tensor
        of_form.load_state_dict(weights)
        assert torch.equal(network(x_NCHW), of_form(x_NCHW)), cell


def test_paths_of_a_cell_are_its_sequences_of_operations() -> None:
    """Against the walks that a general graph library finds."""
    space = make_space(small_spec("nasbench201"))
    cells = space.sample_many(200, np.random.default_rng(4))
    paths = space.paths(cells)
    expected = []
    for cell in cells.tolist():
        graph = networkx.DiGraph()
        graph.add_nodes_from(range(4))
        for edge, choice in zip(EDGES, cell, strict=True):
            if OPERATIONS[choice] != "none":
                graph.add_edge(*edge, operation=OPERATIONS[choice])
        walks = [
            tuple(operation for edge in walk if (operation := graph.edges[edge]["operation"]) != "skip_connect")
            for walk in networkx.all_simple_edge_paths(graph, 0, 3)
        ]
        expected.append(Counter(walks))
    for (a, one), (b, other) in pairwise(zip(expected, paths, strict=True)):
        differing = (a - b).total() + (b - a).total()
        assert (one != other).sum() == differing
    assert [row.sum() for row in paths] == [counter.total() for counter in expected]


def test_nasbench201_counts_the_operations_that_onnx_runtime_is_left_with(tmp_path: Path) -> None:
    """Against its optimised graphs: most additions have become part of convolutions, equal poolings are one."""
    space = make_space(SpaceSpec(name="nasbench201", input_size=8, in_channels=3, num_classes=10))
    rng = np.random.default_rng(0)
    drawn = {space.canonical(space.sample(rng)) for _ in range(4)}
    pool, skip, conv = (OPERATIONS.index(name) for name in ("avg_pool_3x3", "skip_connect", "nor_conv_3x3"))
    drawn |= {
        (skip, skip, pool, skip, pool, pool),
        (pool, pool, conv, pool, pool, pool),
        (conv, pool, skip, pool, pool, pool),
        (skip, skip, 0, conv, pool, conv),  # these two are no canonical forms: nodes 1 and 2 are traded
        (conv, skip, 0, conv, skip, pool),
    }
    counts, repeated = set(), 0
    for architecture in sorted(a for a in drawn if space.depends_on_input(a)):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        options.log_severity_level = 3  # it warns that the file is for this machine only
        path = export_network(space, architecture, tmp_path, batch=1)
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
        expected = sum(block.family == "addition" for block in space.blocks(architecture))
        assert sum(n.op_type == "Add" for n in nodes) == expected, architecture
        counts.add(expected)
        # One more in each of the two blocks between stages.
        num_pools = sum(block.family == "avgpool" for block in space.blocks(architecture))
        assert sum(n.op_type == "AveragePool" for n in nodes) == num_pools + 2, architecture
        repeated += num_pools < 15 * architecture.count(pool)
    assert {0, 15} <= counts and repeated >= 3


def test_a_network_without_a_path_does_not_depend_on_its_input() -> None:
    space = make_space(small_spec("nasbench201"))
    assert not space.depends_on_input((0,) * 6)
    assert not space.depends_on_input((3, 3, 3, 0, 0, 0)), "nothing reaches the last node"
    assert space.depends_on_input((0, 0, 0, 1, 0, 0))
    plans = draw_networks(space, 60, seed=0)
    assert all(space.depends_on_input(p.architecture) for p in plans)


def test_what_is_no_architecture_is_said_by_whatever_takes_one(space: SearchSpace) -> None:
    good = space.sample(np.random.default_rng(0))
    supernet = space.supernet()
    for wrong in (good[:-1], (*good, 0), (-1, *good[1:]), (99, *good[1:]), ()):
        for ask in (supernet.subnet, space.build, space.blocks, space.canonical, space.describe):
            with pytest.raises(SpaceError, match=r"integers each|choices"):
                ask(wrong)
    with pytest.raises(SpaceError, match="integers each"):
        space.as_array([good, good[:-1]])
