// One token: which k of the E experts it is sent to, and how much each of them counts. One block.
// Equals tinyllm.ops.routing: choose_experts without groups, and expert_weights_forward.
//
// x (C,), gain (C,), weight (E, C) with scales as in weights.h -> ids (k,), weights (k,)
#include "ptx_f16.h"
#include "vector.h"
#include "key.h"

extern "C" __global__ void __launch_bounds__(256, 2)
    experts_route(const float *x, const float *gain, const void *weight, const float *scales,
                  int *ids, float *weights, int E, int k, int renormalise, int C, float eps,
                  float scale) {
  const float *vector = load_normalised(x, gain, C, eps);
  float *scores = (float *)shared + 32 + place_end(C);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int task = warp; 2 * task < E; task += blockDim.x / 32) {
    const int first = 2 * task, second = min(first + 1, E - 1);
    const Row rows[2] = {row_of(weight, scales, first, C), row_of(weight, scales, second, C)};
    float sums[2];
    multiply(sums, rows, vector, C);
    if (lane < 2) scores[lane ? second : first] = lane ? sums[1] : sums[0];
  }
  __syncthreads();  // all scores are there
  if (warp != 0) return;

  u64 last = 0;  // the key of the expert chosen last
  float highest = 0, chosen = 0, all = 0;
  for (int choice = 0; choice < k; choice++) {
    u64 best = 0;
    for (int e = lane; e < E; e += 32) {
      const u64 key = key_of(scores[e], e);
      if ((choice == 0 || key < last) && key > best) best = key;
    }
#pragma unroll
    for (int d = 16; d; d /= 2) {
      const u64 other = __shfl_xor_sync(FULL, best, d);
      if (other > best) best = other;
    }
    last = best;
    const int expert = id_of(best);
    if (choice == 0) highest = scores[expert];
    const float p = expf(scores[expert] - highest);
    chosen += p;
    if (lane == 0) ids[choice] = expert, weights[choice] = p;
  }
  for (int e = lane; e < E; e += 32) all += expf(scores[e] - highest);
  all = warp_sum(all);
  if (lane != 0) return;  // who has written the weights
  for (int choice = 0; choice < k; choice++) weights[choice] *= scale / (renormalise ? chosen : all);
}
