"""Fusions as other toolkits have them are wrapped in a few lines and pass; what their authors got wrong is caught."""

from __future__ import annotations

import ast
import inspect

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fusionkit.contracts import Fusion, FusionOutput
from fusionkit.contracts.fusion import Views
from fusionkit.testing import check_fusion

DOCUMENTATION = {"docstring_has_a_summary", "docstring_names_a_reference"}


class Concatenation(Fusion):
    """Concatenation and a perceptron.

    Reference: ConcatFusionModule of TorchMultimodal, the idea.
    """

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.mlp = nn.Sequential(nn.Linear(sum(in_dims.values()), 8), nn.ReLU())

    def fuse(self, views: Views, present: Views) -> Tensor:
        return self.mlp(torch.cat(list(views.values()), 1))


class AttentionFusion(Fusion):
    """Weighted sum of projections; the weights are a softmax over a layer on the concatenation.

    Reference: AttentionFusionModule of TorchMultimodal, the idea.
    """

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.project = nn.ModuleDict({name: nn.Linear(width, 8) for name, width in in_dims.items()})
        self.attention = nn.Linear(sum(in_dims.values()), len(in_dims)) if len(in_dims) > 1 else None

    def fuse(self, views: Views, present: Views) -> Tensor:
        stacked = torch.stack([self.project[name](value) for name, value in views.items()], 2)
        if self.attention is None:
            return stacked[..., 0]
        return (stacked * self.attention(torch.cat(list(views.values()), 1)).softmax(1)[:, None]).sum(2)


class LowRank(Fusion):
    """Product of projections of low rank.

    Reference: Liu et al. 2018, "Efficient Low-rank Multimodal Fusion with Modality-Specific Factors".
    """

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.factors = nn.ParameterList([nn.Parameter(torch.randn(4, n + 1, num_classes)) for n in in_dims.values()])
        self.weights = nn.Parameter(torch.randn(4))

    def fuse(self, views: Views, present: Views) -> Tensor:
        joint = [pad(x, (0, 1), value=1) @ factor for x, factor in zip(views.values(), self.factors, strict=True)]
        return torch.einsum("r,rbc->bc", self.weights, torch.stack(joint).prod(0))


class TensorProduct(Fusion):
    """Outer product of small projections, each with a one appended.

    Reference: Zadeh et al. 2017, "Tensor Fusion Network for Multimodal Sentiment Analysis".
    """

    max_views = 4

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.project = nn.ModuleList([nn.Linear(width, 2) for width in in_dims.values()])

    def fuse(self, views: Views, present: Views) -> Tensor:
        joint = torch.ones_like(views[self.main][:, :1])
        for value, layer in zip(views.values(), self.project, strict=True):
            joint = torch.einsum("bi,bj->bij", joint, pad(layer(value), (0, 1), value=1)).flatten(1)
        return joint


class Crossmodal(Fusion):
    """The main view gives the query, and each other view the keys and values.

    Reference: Tsai et al. 2019, "Multimodal Transformer for Unaligned Multimodal Language Sequences", section 3.1.
    """

    needs = "tokens"
    token_count = 4

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.project = nn.ModuleDict({name: nn.Linear(width, 8) for name, width in in_dims.items()})
        self.cross = nn.ModuleDict({name: nn.MultiheadAttention(8, 2, batch_first=True) for name in self.auxiliary})

    def fuse(self, views: Views, present: Views) -> Tensor:
        tokens = {name: self.project[name](value) for name, value in views.items()}
        query = tokens[self.main]
        crossed = [query + self.cross[name](query, tokens[name], tokens[name])[0] for name in self.auxiliary]
        return torch.cat([value.mean(1) for value in [query, *crossed]], 1)


class ProductOfExperts(Fusion):
    """Product of the distributions of the views that are there: their log-probabilities are added.

    Reference: Hinton 2002, "Training Products of Experts by Minimizing Contrastive Divergence".
    """

    missing = "masked"

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        self.experts = nn.ModuleDict({name: nn.Linear(width, num_classes) for name, width in in_dims.items()})

    def fuse(self, views: Views, present: Views) -> FusionOutput:
        logs = [self.experts[n](x).log_softmax(1) * present[n][:, None] for n, x in views.items()]
        return FusionOutput(logits=torch.stack(logs).sum(0))


PUBLISHED = [Concatenation, AttentionFusion, LowRank, TensorProduct, Crossmodal, ProductOfExperts]


@pytest.mark.slow
@pytest.mark.parametrize("cls", PUBLISHED)
def test_a_published_fusion_passes(cls: type[Fusion]) -> None:
    (node,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(node, ast.ClassDef)
    node.body = node.body[1:]  # without its docstring
    assert len([line for line in ast.unparse(node).splitlines() if line]) < 15
    results = check_fusion(cls)
    assert {found.check: found.message for found in results if found.outcome == "failed"} == {}
    assert sum(found.outcome == "passed" for found in results) > 20


class FactorsInAList(LowRank):
    """Factors that no optimiser sees."""

    def __init__(self, in_dims: dict[str, int], num_classes: int) -> None:
        super().__init__(in_dims, num_classes)
        del self.factors
        self.factors = [nn.Parameter(torch.randn(4, n + 1, num_classes)) for n in in_dims.values()]


class Squeezed(LowRank):
    """A batch of one row loses its first axis."""

    def fuse(self, views: Views, present: Views) -> Tensor:
        return super().fuse(views, present).squeeze()


@pytest.mark.parametrize(
    ("cls", "check", "fact"),
    [
        (FactorsInAList, "every_tensor_is_registered", "self.factors[0]"),
        (Squeezed, "output_shapes", "of shape (5,); expected (1, out_dim)"),
    ],
)
def test_a_known_fault_is_caught(cls: type[Fusion], check: str, fact: str) -> None:
    failed = {found.check: found.message for found in check_fusion(cls) if found.outcome == "failed"}
    assert failed.keys() - DOCUMENTATION == {check}
    assert fact in failed[check]
