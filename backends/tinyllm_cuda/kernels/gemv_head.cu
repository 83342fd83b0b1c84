// One token: logits = W RMSNorm(x), a score for every token of the vocabulary. Two rows to a warp.
// Equals tinyllm.models.decoder.head_forward after the last norm.
//
// x (C,), gain (C,), weight (n, C) with scales as in weights.h -> logits (n,)
#include "ptx_f16.h"
#include "vector.h"

extern "C" __global__ void __launch_bounds__(256)
    gemv_head(const float *x, const float *gain, const void *weight, const float *scales,
              float *logits, int n, int C, float eps) {
  const float *vector = load_normalised(x, gain, C, eps);
  for (int task = first_task(); 2 * task < n; task += all_warps()) {
    const int first = 2 * task, second = min(first + 1, n - 1);
    const Row rows[2] = {row_of(weight, scales, first, C), row_of(weight, scales, second, C)};
    float sums[2];
    multiply(sums, rows, vector, C);
    const int lane = threadIdx.x % 32;
    if (lane < 2 && first + lane < n) logits[first + lane] = lane ? sums[1] : sums[0];
  }
}
