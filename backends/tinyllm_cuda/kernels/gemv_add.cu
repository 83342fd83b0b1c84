// One token: y += W x + b, a projection that adds to the residual stream. Two rows of W to a warp.
// Equals tinyllm.layers.projection.projection_forward, added.
//
// weight (n, C), scales as in weights.h, bias (n,), x (C,) -> y (n,)
#include "ptx_f16.h"
#include "vector.h"

extern "C" __global__ void __launch_bounds__(256, 1)
    gemv_add(const void *weight, const float *scales, const float *bias, const float *x, float *y,
             int n, int C) {
  const float *vector = load_vector(x, C);
  for (int task = first_task(); 2 * task < n; task += all_warps()) {
    const int first = 2 * task, second = min(first + 1, n - 1);
    const Row rows[2] = {row_of(weight, scales, first, C), row_of(weight, scales, second, C)};
    float sums[2];
    multiply(sums, rows, vector, C);
    const int lane = threadIdx.x % 32;
    if (lane < 2 && first + lane < n)
      y[first + lane] += (lane ? sums[1] : sums[0]) + bias[first + lane];
  }
}
