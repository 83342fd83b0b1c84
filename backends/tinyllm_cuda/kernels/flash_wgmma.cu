// FlashAttention's forward pass on Hopper (sm_90a): Algorithm 1 of Dao 2023, "FlashAttention-2"
// (arXiv:2307.08691), in the order of Shah et al. 2024, "FlashAttention-3" (arXiv:2407.08608),
// Algorithm 2. One warp has TMA bring tiles. Two warpgroups of 64 queries each compute: while one
// takes its softmax, the other has the tensor cores; and while one takes the softmax of tile j, its
// product with the values of tile j - 1 goes on. tinyllm/ops/flash.py computes the same.
//
// q (B H, T, D), k, v (B H / G, S, D) by maps, slopes (H,) -> o (B H, T, D), lse (B H, T)
#include "tile_wgmma.h"
#define B_R (64 * WARPGROUPS)
#define B_C STEP
#define TURN 1  // the barrier at which warpgroup 0 waits for the tensor cores; 1 at the next one

struct Shared {
  Ring<B_R, 1> q;
  Ring<B_C, STAGES> k, v;
};

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    flash_forward(const __grid_constant__ CUtensorMap q, const __grid_constant__ CUtensorMap k,
                  const __grid_constant__ CUtensorMap v, const float *slopes, half_t *o, float *lse,
                  int H, int G, int T, int S, int offset, int least, int most, float scale,
                  float softcap) {
  Shared &tiles = *(Shared *)shared;
  // A causal mask leaves most keys to the last queries: they begin first, and all end together.
  const int i0 = (least > -S ? gridDim.x - 1 - blockIdx.x : blockIdx.x) * B_R, head = blockIdx.y;
  const int warpgroup = threadIdx.x / 128;
  const Scores scores{{offset, least, most}, T, S, scale, softcap, slopes[head % H]};
  const int begin = first_key(scores.band, i0) / B_C * B_C;
  const int steps = max(0, (end_key(scores.band, i0, B_R, S) - begin + B_C - 1) / B_C);
  if (threadIdx.x == 0) {
    tiles.q.init(), tiles.k.init(), tiles.v.init();
    mbarrier_init_fence();
  }
  __syncthreads();  // the barriers are there

  if (warpgroup == WARPGROUPS) {                                     // the producer
    give_registers<24>();
    if (threadIdx.x % 128) return;
    tiles.q.load(0, q, i0, head);                                    // line 4
    for (int step = 0; step < steps; step++) {                       // line 7
      tiles.k.load(step, k, begin + step * B_C, head / G);
      tiles.v.load(step, v, begin + step * B_C, head / G);
    }
    return;
  }
  take_registers<240>();                                             // the consumers
  const int row0 = threadIdx.x / 32 * 16, i = i0 + row0 + fragment_row();
  float o_i[WIDTH / 8][4] = {}, l_i[2] = {}, m_i[2] = {MINUS_INFINITY, MINUS_INFINITY};  // line 5
  float s_ij[B_C / 8][4], rescale[2];
  unsigned p_ij[B_C / 16][4];
  auto softmax = [&](int step) {                                     // line 9
    const int j0 = begin + step * B_C;
    make_scores(s_ij, scores, i, j0 + fragment_column(), scores.whole(i0, B_R, j0, B_C));
    online_softmax(s_ij, m_i, l_i, rescale, scores.unit());
  };
  const Tile<B_R> &q_i = tiles.q.wait(0);
  if (warpgroup == 1 && steps > 1) named_arrive(TURN, 256);  // warpgroup 0 has the first turn
  if (steps > 0) {
    const Tile<B_C> &k_j = tiles.k.wait(0);
    wgmma_fence();
    start_abt(s_ij, q_i, 64 * warpgroup, k_j);                       // line 8
    wgmma_commit();
    wgmma_wait<0>(s_ij);
    tiles.k.release(0);
    softmax(0);
    as_factor(p_ij, s_ij);
  }
  for (int step = 1; step < steps; step++) {                         // line 6
    // Values of a tile come before the next tile's keys: to wait for both takes no longer.
    const Tile<B_C> &k_j = tiles.k.wait(step), &v_before = tiles.v.wait(step - 1);
    // Right without it: no number passes between the warpgroups, whose turns only keep one's
    // softmax beside the other's products.
    named_sync(TURN + warpgroup, 256);
    wgmma_fence();
    start_abt(s_ij, q_i, 64 * warpgroup, k_j);                       // line 8
    wgmma_commit();
    start_pb(o_i, p_ij, v_before);                                   // line 10, of the tile before
    wgmma_commit();
    if (warpgroup == 0 || step + 1 < steps) named_arrive(TURN + (warpgroup ^ 1), 256);
    wgmma_wait<1>(s_ij);
    tiles.k.release(step);
    softmax(step);
    wgmma_wait<0>(o_i);  // the older product is done: o_i and p_ij are free
    tiles.v.release(step - 1);
    multiply_rows(o_i, rescale);                                     // line 10
    as_factor(p_ij, s_ij);
  }
  if (steps > 0) {
    const Tile<B_C> &v_j = tiles.v.wait(steps - 1);
    wgmma_fence();
    start_pb(o_i, p_ij, v_j);                                        // line 10, of the last tile
    wgmma_commit();
    wgmma_wait<0>(o_i);
  }
  lse += (long long)head * T;
  finish_rows(o_i, m_i, l_i, scores.unit(), lse, i, T);              // lines 12 and 13
  store_rows(o + (long long)head * T * D, o_i, i, T, 1);             // line 14
}
