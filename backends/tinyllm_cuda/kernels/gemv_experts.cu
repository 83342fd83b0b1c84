// One token: the experts that it is sent to, and no others, of whose weights nothing is read. Which
// they are is known on the device alone: ids (k,). `tables` hold, for each expert, the addresses of
// its matrix and of its scales. Equals tinyllm.layers.moe.moe_forward after its router.
#include "ptx_f16.h"
#include "vector.h"
typedef unsigned long long Address;

__device__ __forceinline__ Row row_of_expert(const Address *table, int expert, int row, int C) {
  return row_of((const void *)table[2 * expert], (const float *)table[2 * expert + 1], row, C);
}

// h[choice] = silu(W_gate x̂) ⊙ W_up x̂ of the expert, x̂ = RMSNorm(x): x (C,), gain (C,) -> h (k, n)
extern "C" __global__ void __launch_bounds__(256, 2)
    experts_swiglu(const float *x, const float *gain, const Address *gates, const Address *ups,
                   const int *ids, float *h, int n, int C, float eps) {
  const float *vector = load_normalised(x, gain, C, eps);
  const int expert = ids[blockIdx.y];
  for (int task = first_task(); task < n; task += all_warps()) {
    const Row rows[2] = {row_of_expert(gates, expert, task, C),
                         row_of_expert(ups, expert, task, C)};
    float sums[2];
    multiply(sums, rows, vector, C);
    if (threadIdx.x % 32 == 0) h[blockIdx.y * n + task] = sums[0] / (1 + expf(-sums[0])) * sums[1];
  }
}

// y += Σ weights[choice] · W_down h[choice]: h (k, C), weights (k,) -> y (n,). A warp has two rows,
// and adds up the experts in their order, so that reruns give the same bits.
extern "C" __global__ void __launch_bounds__(256, 2)
    experts_add(const Address *downs, const int *ids, const float *weights, const float *h,
                float *y, int k, int n, int C) {
  const int first = 2 * first_task(), second = min(first + 1, n - 1), lane = threadIdx.x % 32;
  float total[2] = {};
  for (int choice = 0; choice < k; choice++) {
    const float *vector = load_vector(h + choice * C, C);
    if (first < n) {
      const Row rows[2] = {row_of_expert(downs, ids[choice], first, C),
                           row_of_expert(downs, ids[choice], second, C)};
      float sums[2];
      multiply(sums, rows, vector, C);
      for (int r = 0; r < 2; r++) total[r] += weights[choice] * sums[r];
    }
    __syncthreads();  // the vector has been read: the next takes its place
  }
  if (lane < 2 && first + lane < n) y[first + lane] += lane ? total[1] : total[0];
}
