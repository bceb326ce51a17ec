"""The engine on devices that are not here: shapes alone (`meta`), and CUDA without a GPU.

A tensor of `meta` has a shape and no values: what reads a value fails. A fake CUDA tensor knows its
device besides, so that an operation on tensors of two devices fails as it does on a GPU.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel

from selfrepair_assets.measurement.ablations import ABLATIONS
from selfrepair_assets.measurement.engine.interface import AblationRequest, tokens_on
from selfrepair_assets.measurement.engine.perturbation import PerturbationEngine
from selfrepair_assets.measurement.engine.results import KeptRows
from selfrepair_assets.measurement.heads import Head
from selfrepair_assets.measurement.model.families.known import fold
from tests.helpers.models.families import FAMILIES, MODERN, random_model, random_tokens

HEADS = [Head(0, 1), Head(0, 2), Head(2, 3)]
ROWS = KeptRows(*(np.array(places) for places in ([0, 0, 2], [1, 2, 3], [1, 0, 1], [4, 2, 0])))
CUDA = torch.device("cuda:0")
LENGTH = 8  # longer than the families' windows
aten = torch.ops.aten
CROSSING = (aten.to, aten._to_copy, aten.copy_, aten.index)
"""What takes tensors of two devices; indices of the host are copied, and waited for."""


class HostWaitsError(AssertionError):
    """The host would wait for the device."""


class NoWaiting(TorchDispatchMode):
    """Refuses a copy between host and CUDA that is waited for.

    The host waits for a value, too, and for what has its shape by values: fake tensors refuse both.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        is_to = func.overloadpacket is aten.to  # which inference mode leaves whole
        answer = (func.decompose if is_to else func)(*args, **kwargs)
        tensors = (leaf for leaf in tree_leaves((args, answer)) if isinstance(leaf, Tensor))
        devices = {tensor.device.type for tensor in tensors}
        if func.overloadpacket in CROSSING and len(devices) == 2 and not kwargs.get("non_blocking"):
            raise HostWaitsError(f"{func} is waited for")
        return answer


class Indexing(TorchFunctionMode):
    """`x[index]` and a few more in plain operations: torch built without CUDA fails in its own."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__getitem__:
            return self.part(*args)
        if func is Tensor.__setitem__:
            return aten.copy_.default(self.part(*args[:2]), args[2])
        if func is Tensor.__invert__:
            return aten.bitwise_not.default(*args)
        if func is Tensor.contiguous:
            return args[0] if args[0].is_contiguous() else aten.clone.default(args[0])
        return func(*args, **(kwargs or {}))

    @staticmethod
    def part(x: Tensor, index: Any) -> Tensor:
        items = list(index) if isinstance(index, tuple) else [index]
        dims = sum(item is not None and item is not ... for item in items)
        at = next((i for i, item in enumerate(items) if item is ...), None)
        if at is not None:
            items[at : at + 1] = [slice(None)] * (x.dim() - dims)
        looked_up: list[Tensor | None] = []
        for item in items:
            dim = len(looked_up)
            if isinstance(item, int):
                x = aten.select.int(x, dim, item)
                continue
            looked_up.append(None)
            if item is None:
                x = aten.unsqueeze.default(x, dim)
            elif isinstance(item, slice):
                x = aten.slice.Tensor(x, dim, item.start, item.stop, item.step or 1)
            else:
                looked_up[-1] = torch.as_tensor(item)
        return aten.index.Tensor(x, looked_up) if any(i is not None for i in looked_up) else x


def moved(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """The model there. `Module.to` changes tensors in place, which fake ones do not take."""
    there: dict[int, Tensor] = {}  # tied weights stay tied
    for module in model.modules():
        every: tuple[Any, Any] = (module._parameters, module._buffers)
        for slots in every:
            for name, tensor in list(slots.items()):
                if tensor is not None and tensor.dim():
                    slots[name] = there.setdefault(id(tensor), tensor.to(device))
    return model


@contextmanager
def nowhere(name: str) -> Iterator[PerturbationEngine]:
    yield PerturbationEngine(fold(moved(read(name), torch.device("meta"))))


@contextmanager
def on_fake_cuda(name: str) -> Iterator[PerturbationEngine]:
    model = read(name)
    with FakeTensorMode(allow_non_fake_inputs=True), Indexing():
        engine = PerturbationEngine(fold(moved(model, CUDA)))
        with NoWaiting():
            yield engine


def read(name: str) -> PreTrainedModel:
    """The model; a scale that is one number is read when it is loaded, where there are numbers."""
    model = random_model(name).requires_grad_(False)
    for module in model.modules():
        for slot, tensor in list(module._buffers.items()):
            if tensor is not None and not tensor.dim():
                del module._buffers[slot]
                setattr(module, slot, tensor.item())
    return model


OnDevice = Callable[[str], AbstractContextManager[PerturbationEngine]]


@pytest.mark.parametrize("name", [*FAMILIES, *MODERN])
@pytest.mark.parametrize("on_device", [nowhere, on_fake_cuda])
def test_the_engine_runs_on_its_device_alone(on_device: OnDevice, name: str) -> None:
    check(on_device, name, HEADS[1:], ["mean"])


@pytest.mark.parametrize("name", ["gpt2", "gemma2"])
def test_every_ablation_of_several_heads_runs_there(name: str) -> None:
    check(on_fake_cuda, name, HEADS, list(ABLATIONS))


def check(on_device: OnDevice, name: str, heads: list[Head], ablations: list[str]) -> None:
    tokens = random_tokens(2, LENGTH).numpy()
    partners = tokens[::-1].copy() if "resample" in ablations else None
    with on_device(name) as engine:
        model, device = engine.model, engine.model.device
        assert device.type == ("cuda" if on_device is on_fake_cuda else "meta")
        mean_z = np.zeros((model.n_layers, model.n_heads, model.d_head))
        request = AblationRequest(tokens, heads, ablations, partners, mean_z, ROWS)
        precisions = ["bf16", *(["bf16_fp32"] * (model.n_layers - 1))]
        answers = list(engine.ablate_heads(request, precisions, rows_at_once=3))
        assert len(answers) == 2 * len(ablations)
        for answer in answers:
            assert answer.details is not None
            of_rows = answer.details.values()
            assert {t.device for t in (*answer.columns.values(), *of_rows)} == {device}
            assert {t.dtype for t in answer.columns.values()} == {torch.float32}
            shape = (len(answer.heads), 2, LENGTH - 1)
            assert {tuple(t.shape) for t in answer.columns.values()} == {shape}
            if device.type == "cuda":
                assert answer.to_host().device.type == "cpu"
        there = tokens_on(device, tokens)
        for fed in engine.reinforce_heads(there, heads[-1:], (1.0, 3.0), rows_at_once=5):
            assert {column.device for column in fed.columns.values()} == {device}
        assert {value.device for value in vars(engine.clean_facts(there)).values()} == {device}


class Products(TorchDispatchMode):
    """Notes of each matrix product whether it may be in TF32, and whether it is one of a change."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bool, bool]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet, in_tf32 = func.overloadpacket, torch.ops.selfrepair.linear_of_tf32
        if packet in (aten.linear, aten.matmul, aten.mm, aten.bmm, aten.einsum, in_tf32):
            has_no_bias = packet in (aten.linear, in_tf32) and len(args) == 2
            is_of_change = has_no_bias and args[0].shape[:-1].numel() % (LENGTH - 1) == 0
            self.seen.append((packet is in_tf32, is_of_change))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["gpt_neox", "gemma2"])
def test_products_of_changes_alone_are_in_tf32(name: str) -> None:
    """All of a change's but those of the first positions; not the clean run's, nor attention's."""
    tokens = random_tokens(2, LENGTH).numpy()
    with on_fake_cuda(name) as engine, Products() as products:
        request = AblationRequest(tokens, HEADS[:1], ["zero"])
        list(engine.ablate_heads(request, ["tf32"] * 3, rows_at_once=3))
        assert {in_tf32 for in_tf32, is_of_change in products.seen if is_of_change} == {True}
        assert {in_tf32 for in_tf32, is_of_change in products.seen if not is_of_change} == {False}
        products.seen.clear()
        list(engine.ablate_heads(request, ["fp32"] * 3, rows_at_once=3))
        assert {in_tf32 for in_tf32, _ in products.seen} == {False}


@pytest.mark.parametrize(
    ("mistake", "says"),
    [
        (lambda x: x.sum().item(), "_local_scalar_dense"),
        (lambda x: bool(x.sum() > 0), "_local_scalar_dense"),
        (lambda x: x.cpu(), "is waited for"),
        (lambda x: torch.tensor([1.0, 2.0], device=x.device), "is waited for"),
        (lambda x: x[torch.tensor([0, 1])], "is waited for"),
        (lambda x: x[:2].__setitem__(slice(2), torch.ones(2)), "is waited for"),
        (lambda x: x[x > 0], "Dynamic|not linked with support for cuda"),
        (lambda x: x + torch.ones(3), "device"),
        (lambda x: x @ torch.ones(3, 3), "device"),
    ],
)
def test_each_mistake_is_found(mistake: Callable[[Tensor], object], says: str) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True), Indexing():
        there = torch.ones(3, device=CUDA)
        with torch.inference_mode(), NoWaiting(), pytest.raises(Exception, match=says):
            mistake(there)
