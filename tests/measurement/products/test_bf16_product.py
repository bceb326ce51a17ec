"""The kernel of bf16 products with sums in fp32, on the CPUs that have bf16, and what stands in."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from selfrepair_assets.measurement.products import bf16_product
from selfrepair_assets.measurement.products.precision import LinearMap


@pytest.fixture
def kernel() -> None:
    """Skipped where the CPU has no bf16; where it has, a kernel that cannot be had is a failure."""
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if not bf16_product.is_compiled():
        assert not has_bf16
        pytest.skip("this CPU has no bf16")


@pytest.fixture
def anew() -> Iterator[None]:
    bf16_product.is_compiled.cache_clear()
    yield
    bf16_product.is_compiled.cache_clear()


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("rows", [0, 1, 255, 256, 700])
@pytest.mark.parametrize(("n_out", "n_in"), [(64, 32), (1, 2), (63, 576), (960, 576), (130, 34)])
def test_the_kernel_multiplies_as_float64_does(rows: int, n_out: int, n_in: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    delta = torch.randn((rows, n_in), generator=generator).bfloat16()
    weight = torch.randn((n_out, n_in), generator=generator)
    found = bf16_product.product(delta, bf16_product.packed(weight), n_out)
    right = delta.double() @ weight.bfloat16().double().T
    assert found.shape == (rows, n_out)
    assert found.dtype == torch.float32
    # Of sums in fp32; those that bf16 rounds err by 2e-3.
    assert not rows or (found - right).norm() < 1e-6 * right.norm()


@pytest.mark.usefixtures("kernel")
def test_a_map_that_was_prepared_gives_what_plain_steps_give() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, delta = (torch.randn(shape, generator=generator) for shape in ((96, 64), (3, 5, 64)))
    plain, prepared = (LinearMap(weight, torch.zeros(96)) for _ in range(2))
    prepared.prepare("bf16_fp32")
    assert prepared._packed is not None
    found, right = (m.of_change_by_position(delta, "bf16_fp32") for m in (prepared, plain))
    assert (found - right).norm() < 1e-6 * right.norm()
    assert torch.equal(found[:, :4], right[:, :4])  # the first positions, in fp32


@pytest.mark.usefixtures("kernel")
def test_an_odd_number_of_inputs_is_left_to_onednn() -> None:
    odd, delta = LinearMap(torch.randn(8, 33), torch.zeros(8)), torch.randn(2, 5, 33)
    odd.prepare("bf16_fp32")
    assert odd._packed is None
    right = delta.double() @ odd.weight.double().T
    assert (odd.of_change(delta, "bf16_fp32") - right).norm() < 1e-2 * right.norm()


@pytest.mark.usefixtures("kernel")
def test_a_product_of_other_shapes_is_refused() -> None:
    packed = bf16_product.packed(torch.randn(70, 32))
    rows = torch.randn(3, 32).bfloat16()
    for wrong, n_out in ((rows[:, :30], 70), (rows, 64), (rows, 129), (rows.float(), 70)):
        with pytest.raises(RuntimeError):
            bf16_product.product(wrong.contiguous(), packed, n_out)
    with pytest.raises(RuntimeError):
        bf16_product.product(torch.randn(3, 64).bfloat16()[:, ::2], packed, 70)


@pytest.mark.usefixtures("anew")
def test_without_a_compiler_the_log_says_so_and_onednn_multiplies(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # nothing is there from before
    source = tmp_path / "other.cpp"
    source.write_text(bf16_product.SOURCE.read_text() + "// not compiled before\n")
    monkeypatch.setattr(bf16_product, "SOURCE", source)
    compilers = {"cpp.cxx": (str(tmp_path / "no-compiler"),)}
    with caplog.at_level(logging.WARNING), torch._inductor.config.patch(compilers):
        assert not bf16_product.is_compiled()
    assert "bf16's products take longer than they could: their kernel cannot be had" in caplog.text
    assert "\n" not in caplog.messages[-1]
    plain, delta = LinearMap(torch.randn(8, 32), torch.zeros(8)), torch.randn(2, 5, 32)
    plain.prepare("bf16_fp32")
    assert plain._packed is None
    right = delta.double() @ plain.weight.double().T
    assert (plain.of_change(delta, "bf16_fp32") - right).norm() < 1e-2 * right.norm()


@pytest.mark.usefixtures("anew", "kernel")
def test_a_kernel_that_is_wrong_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bf16_product.is_compiled.cache_clear()
    monkeypatch.setattr(bf16_product, "product", lambda rows, _, n: rows.new_zeros(len(rows), n))
    with caplog.at_level(logging.WARNING):
        assert not bf16_product.is_compiled()
    assert "a product of whole numbers is wrong" in caplog.text
