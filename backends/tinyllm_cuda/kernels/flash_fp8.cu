// FlashAttention-3's forward pass in 8 bits (sm_90a): section 3.3 of Shah et al. 2024
// (arXiv:2407.08608), with a scale for each 128 rows of q, k and v; Algorithm 1 of Dao 2023
// (arXiv:2307.08691) in its letters. tinyllm/ops/fp8.py simulates it: there P is rounded once more
// where m rises, which is all that differs. quantize_e4m3.cu makes what it reads.
//
// q (B H, T, D), k (B H / G, S, D), v (B H / G, D, S') of e4m3 by maps, the scales of their blocks
// (heads, blocks), slopes (H,) -> o (B H, T, D), lse (B H, T)
#include "tile_wgmma.h"
#define B_R (64 * WARPGROUPS)
#define B_C 128
#define BLOCKS(n) (((n) + 127) / 128)  // of rows that have a scale in common

struct Shared {
  Ring<B_R, 1> q;
  Ring<B_C, STAGES> k;
  Ring<D, STAGES, B_C> v;
};

// A lane's scores as it holds a factor. Of each 32 keys it has 2 t and 2 t + 1 of four eights, where
// a factor's are 4 t … 4 t + 3 of two sixteens: values lie in an order by which they are the same.
template <int N>
__device__ __forceinline__ void as_factor8(unsigned (&x)[N / 4][4], const float (&p)[N][4]) {
#pragma unroll
  for (int k = 0; k < N / 4; k++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const int n = 4 * k + e / 2 * 2, c = e % 2 * 2;
      x[k][e] = pack4(p[n][c], p[n][c + 1], p[n + 1][c], p[n + 1][c + 1]);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
    flash_forward(const __grid_constant__ CUtensorMap q, const __grid_constant__ CUtensorMap k,
                  const __grid_constant__ CUtensorMap v, const float *q_scales,
                  const float *k_scales, const float *v_scales, const float *slopes, half_t *o,
                  float *lse, int H, int G, int T, int S, int offset, int least, int most,
                  float scale, float softcap) {
  Shared &tiles = *(Shared *)shared;
  const int i0 = blockIdx.x * B_R, head = blockIdx.y, warpgroup = threadIdx.x / 128;
  scale *= q_scales[head * BLOCKS(T) + blockIdx.x];
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
      tiles.v.load(step, v, 0, head / G, begin + step * B_C);
    }
    return;
  }
  take_registers<240>();                                             // the consumers
  const int row0 = threadIdx.x / 32 * 16, i = i0 + row0 + fragment_row();
  float o_i[D / 8][4] = {}, l_i[2] = {}, m_i[2] = {MINUS_INFINITY, MINUS_INFINITY};  // line 5
  float s_ij[B_C / 8][4], rescale[2], v_scale = 1;  // o_i is in units of the last v_scale
  unsigned p_ij[B_C / 32][4];
  const Tile<B_R> &q_i = tiles.q.wait(0);
  for (int step = 0; step < steps; step++) {                         // line 6
    const int j0 = begin + step * B_C, block = head / G * BLOCKS(S) + j0 / 128;
    const float k_scale = k_scales[block], older = v_scale;
    v_scale = v_scales[block];
    const Tile<B_C> &k_j = tiles.k.wait(step);
    wgmma_fence();
    start_abt(s_ij, q_i, 64 * warpgroup, k_j);                       // line 8
    wgmma_commit();
    wgmma_wait<0>(s_ij);
    tiles.k.release(step);
    multiply_rows(s_ij, {k_scale, k_scale});
    make_scores(s_ij, scores, i, j0 + fragment_column(), scores.whole(i0, B_R, j0, B_C));
    online_softmax(s_ij, m_i, l_i, rescale, scores.unit());          // line 9
    as_factor8(p_ij, s_ij);
    const float units = older / v_scale;
    multiply_rows(o_i, {rescale[0] * units, rescale[1] * units});    // line 10
    const Tile<D, B_C> &v_j = tiles.v.wait(step);
    wgmma_fence();
    start_pb(o_i, p_ij, v_j);
    wgmma_commit();
    wgmma_wait<0>(o_i);
    tiles.v.release(step);
  }
  lse += (long long)head * T;
  finish_rows(o_i, m_i, l_i, scores.unit(), lse, i, T);              // lines 12 and 13
  store_rows(o + (long long)head * T * D, o_i, i, T, v_scale);       // line 14
}
