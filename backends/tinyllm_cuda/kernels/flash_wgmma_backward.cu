// FlashAttention's backward pass on Hopper (sm_90a): Algorithm 2 of Dao 2023 (arXiv:2307.08691), in
// the paper's letters, with one warp for the tiles and two warpgroups that compute, as in Shah et
// al. 2024, "FlashAttention-3" (arXiv:2407.08608), section 3.1. Like flash_mma_backward.cu it is
// two kernels, for a rerun to give the same bits: dK and dV from transposed scores, Sᵀ = K Qᵀ, and
// dQ. A warpgroup has 64 rows; its factors P and dS never leave its registers.
//
// q, o, do (B H, T, D), k, v (B H / G, S, D) by maps, slopes (H,), lse, delta (B H, T)
// -> dq (B H, T, D), dk, dv (B H / G, S, D)
#include "tile_wgmma.h"
#define BLOCK (64 * WARPGROUPS)  // keys of a block for dK and dV, queries of one for dQ

struct Shared {
  Ring<BLOCK, 1> a, b;      // K and V, or Q and dO, of the block
  Ring<STEP, STAGES> c, d;  // the other two, tile by tile
};

// Make the rings, and part the threads: returns whether this one computes. `produce` is the work of
// the one that does not.
template <class Produce>
__device__ __forceinline__ bool computes(Shared &tiles, Produce produce) {
  if (threadIdx.x == 0) {
    tiles.a.init(), tiles.b.init(), tiles.c.init(), tiles.d.init();
    mbarrier_init_fence();
  }
  __syncthreads();  // the barriers are there
  if (threadIdx.x / 128 < WARPGROUPS) {
    take_registers<240>();
    return true;
  }
  give_registers<24>();
  if (threadIdx.x % 128 == 0) produce();
  return false;
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    flash_backward_kv(const __grid_constant__ CUtensorMap q,
                      const __grid_constant__ CUtensorMap k,
                      const __grid_constant__ CUtensorMap v,
                      const __grid_constant__ CUtensorMap do_, const float *lse,
                      const float *delta, const float *slopes, half_t *dk, half_t *dv, int H,
                      int G, int T, int S, int offset, int least, int most, float scale,
                      float softcap) {
  Shared &tiles = *(Shared *)shared;
  const int j0 = blockIdx.x * BLOCK, key_head = blockIdx.y;
  const int row0 = threadIdx.x / 32 * 16, j = j0 + row0 + fragment_row();
  const Band band{offset, least, most};
  const int begin = first_query(band, j0) / STEP * STEP;
  const int steps = max(0, (end_query(band, j0, BLOCK, T) - begin + STEP - 1) / STEP);
  auto produce = [&] {
    tiles.a.load(0, k, j0, key_head);                                // line 6
    tiles.b.load(0, v, j0, key_head);
    for (int step = 0; step < steps * G; step++) {                   // line 9
      const int head = key_head * G + step / steps, i0 = begin + step % steps * STEP;
      tiles.c.load(step, q, i0, head);
      tiles.d.load(step, do_, i0, head);
    }
  };
  if (!computes(tiles, produce)) return;
  float dk_j[WIDTH / 8][4] = {}, dv_j[WIDTH / 8][4] = {};            // line 7
  float p_ij[STEP / 8][4], ds_ij[STEP / 8][4];
  unsigned p_factor[STEP / 16][4], ds_factor[STEP / 16][4];
  const Tile<BLOCK> &k_j = tiles.a.wait(0), &v_j = tiles.b.wait(0);
  for (int step = 0; step < steps * G; step++) {                     // line 8
    const int head = key_head * G + step / steps, i0 = begin + step % steps * STEP;
    const Scores scores{band, T, S, scale, softcap, slopes[head % H]};
    const bool whole = scores.whole(i0, STEP, j0, BLOCK);
    const Tile<STEP> &q_i = tiles.c.wait(step), &do_i = tiles.d.wait(step);
    wgmma_fence();
    start_abt(p_ij, k_j, row0 / 64 * 64, q_i);                       // line 10
    start_abt(ds_ij, v_j, row0 / 64 * 64, do_i);                     // line 13
    wgmma_commit();
    wgmma_wait<0>(p_ij, ds_ij);
#pragma unroll
    for (int n = 0; n < STEP / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) {                                  // lines 11 and 14
        const int i = i0 + n * 8 + fragment_column() + e % 2;
        const long long at = (long long)head * T + i;
        softmax_backward(p_ij[n][e], ds_ij[n][e], scores, i, j + e / 2 * 8, whole,
                         i < T ? lse[at] : 0, i < T ? delta[at] : 0);
      }
    as_factor(p_factor, p_ij);
    as_factor(ds_factor, ds_ij);
    wgmma_fence();
    start_pb(dv_j, p_factor, do_i);                                  // line 12
    start_pb(dk_j, ds_factor, q_i);                                  // line 16
    wgmma_commit();
    wgmma_wait<0>(dv_j, dk_j);
    tiles.c.release(step);
    tiles.d.release(step);
  }
  const long long at = (long long)key_head * S * D;
  store_rows(dk + at, dk_j, j, S, scale);                            // line 18
  store_rows(dv + at, dv_j, j, S, 1);
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    flash_backward_q(const __grid_constant__ CUtensorMap q, const __grid_constant__ CUtensorMap k,
                     const __grid_constant__ CUtensorMap v, const __grid_constant__ CUtensorMap do_,
                     const float *lse, const float *delta, const float *slopes, half_t *dq, int H,
                     int G, int T, int S, int offset, int least, int most, float scale,
                     float softcap) {
  Shared &tiles = *(Shared *)shared;
  const int i0 = blockIdx.x * BLOCK, head = blockIdx.y;
  const int row0 = threadIdx.x / 32 * 16, i = i0 + row0 + fragment_row();
  const Scores scores{{offset, least, most}, T, S, scale, softcap, slopes[head % H]};
  const int begin = first_key(scores.band, i0) / STEP * STEP;
  const int steps = max(0, (end_key(scores.band, i0, BLOCK, S) - begin + STEP - 1) / STEP);
  auto produce = [&] {
    tiles.a.load(0, q, i0, head);
    tiles.b.load(0, do_, i0, head);
    for (int step = 0; step < steps; step++) {
      tiles.c.load(step, k, begin + step * STEP, head / G);
      tiles.d.load(step, v, begin + step * STEP, head / G);
    }
  };
  if (!computes(tiles, produce)) return;
  float dq_i[WIDTH / 8][4] = {}, p_ij[STEP / 8][4], ds_ij[STEP / 8][4], lse_i[2], delta_i[2];
  unsigned ds_factor[STEP / 16][4];
  const long long at = (long long)head * T;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    lse_i[r] = i + 8 * r < T ? lse[at + i + 8 * r] : 0;
    delta_i[r] = i + 8 * r < T ? delta[at + i + 8 * r] : 0;
  }
  const Tile<BLOCK> &q_i = tiles.a.wait(0), &do_i = tiles.b.wait(0);
  for (int step = 0; step < steps; step++) {
    const int j0 = begin + step * STEP, j = j0 + fragment_column();
    const bool whole = scores.whole(i0, BLOCK, j0, STEP);
    const Tile<STEP> &k_j = tiles.c.wait(step), &v_j = tiles.d.wait(step);
    wgmma_fence();
    start_abt(p_ij, q_i, row0 / 64 * 64, k_j);                       // line 10
    start_abt(ds_ij, do_i, row0 / 64 * 64, v_j);                     // line 13
    wgmma_commit();
    wgmma_wait<0>(p_ij, ds_ij);
    tiles.d.release(step);
#pragma unroll
    for (int n = 0; n < STEP / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++)                                    // lines 11 and 14
        softmax_backward(p_ij[n][e], ds_ij[n][e], scores, i + e / 2 * 8, j + n * 8 + e % 2, whole,
                         lse_i[e / 2], delta_i[e / 2]);
    as_factor(ds_factor, ds_ij);
    wgmma_fence();
    start_pb(dq_i, ds_factor, k_j);                                  // line 15
    wgmma_commit();
    wgmma_wait<0>(dq_i);
    tiles.c.release(step);
  }
  store_rows(dq + at * D, dq_i, i, T, scale);
}
