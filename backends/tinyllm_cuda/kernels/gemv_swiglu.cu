// One token: y = silu(W_gate x̂ + b_gate) ⊙ (W_up x̂ + b_up), x̂ = RMSNorm(x); a row of each to a
// warp. Equals tinyllm.layers.mlp.gated_mlp_forward before its down projection, after the norm.
//
// x (C,), gain (C,), gate, up (n, C) with scales as in weights.h and biases (n,) -> y (n,)
#include "ptx_f16.h"
#include "vector.h"

extern "C" __global__ void __launch_bounds__(256)
    gemv_swiglu(const float *x, const float *gain, const void *gate, const float *gate_scales,
                const float *gate_bias, const void *up, const float *up_scales,
                const float *up_bias, float *y, int n, int C, float eps) {
  const float *vector = load_normalised(x, gain, C, eps);
  for (int task = first_task(); task < n; task += all_warps()) {
    const Row rows[2] = {row_of(gate, gate_scales, task, C), row_of(up, up_scales, task, C)};
    float sums[2];
    multiply(sums, rows, vector, C);
    if (threadIdx.x % 32 == 0) {
      const float g = sums[0] + gate_bias[task], u = sums[1] + up_bias[task];
      y[task] = g / (1 + expf(-g)) * u;
    }
  }
}
