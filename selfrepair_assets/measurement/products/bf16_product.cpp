// rows weight' of bf16 operands with sums in fp32, on a CPU: torch's own product rounds them to bf16.
//
// Blocks of rows are multiplied with blocks of weights by torch's brgemm (AMX tiles, where the CPU
// has them). A block of rows stays in the cache while all weights pass, each in a block of its own.
#include <algorithm>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/native/CPUBlas.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

namespace {

using at::BFloat16;
namespace blas = at::native::cpublas;

constexpr int64_t ROWS = 256;

bool has_bf16() {
  return blas::could_pack(at::kBFloat16);
}

// rows: (row, in); packed: (block, in, out of a block), pairs of `in` side by side; n_out: of all.
at::Tensor product(const at::Tensor& rows, const at::Tensor& packed, int64_t n_out) {
  TORCH_CHECK(rows.dim() == 2 && packed.dim() == 3 && rows.size(1) == packed.size(1));
  TORCH_CHECK(rows.scalar_type() == at::kBFloat16 && packed.scalar_type() == at::kBFloat16);
  TORCH_CHECK(rows.is_contiguous() && packed.is_contiguous());
  const int64_t m = rows.size(0), k = rows.size(1);
  const int64_t blocks = packed.size(0), width = packed.size(2);
  TORCH_CHECK(n_out <= blocks * width && n_out > (blocks - 1) * width);
  at::Tensor sums = at::empty({m, n_out}, rows.options().dtype(at::kFloat));
  const auto* a = rows.const_data_ptr<BFloat16>();
  const auto* b = packed.const_data_ptr<BFloat16>();
  auto* c = sums.mutable_data_ptr<float>();
  const int64_t tasks = (m + ROWS - 1) / ROWS * blocks;
  at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task / blocks * ROWS, block = task % blocks, out = block * width;
      blas::brgemm(
          std::min(ROWS, m - row), std::min(width, n_out - out), k, k, width, n_out, false,
          a + row * k, b + block * k * width, c + row * n_out + out);
    }
    blas::brgemm_release();
  });
  return sums;
}

} // namespace

TORCH_LIBRARY_FRAGMENT(selfrepair, library) {
  library.def("has_bf16() -> bool", &has_bf16);
  library.def("product_of_bf16(Tensor rows, Tensor packed, int n_out) -> Tensor");
}

TORCH_LIBRARY_IMPL(selfrepair, CPU, library) {
  library.impl("product_of_bf16", &product);
}
