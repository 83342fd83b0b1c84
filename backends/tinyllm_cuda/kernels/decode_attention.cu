// One token: the attention of its H = G K query heads to the columns of the KV cache that it sees,
// those less than `window` before it. The G heads that share a key head read it together, in blocks
// that split the columns; the last block of a key head to be done merges what the splits found
// ("Flash-Decoding": Dao et al. 2023). Equals tinyllm.ops.attention.attention_forward of one query.
//
// q (H, D), keys, values (K, room, D) in KV_FORMAT with column c in slot c mod room, state: token,
// position, … -> o (H, D). parts (K, splits, G, D + 2) is room, done (K,) zeros, before and after.
#include "ptx_f16.h"
#include "number.h"
extern __shared__ __align__(1024) unsigned char shared[];
typedef Number<KV_FORMAT> Kept;
#define THREADS 128
#define GROUPS (THREADS / LANES)  // of lanes that share a key
#define PER (D / LANES)           // numbers of a key that a lane has
#define AT_ONCE 2                 // keys that a group reads before it looks at any
#define TILE (GROUPS * AT_ONCE)   // keys
#define PART (D + 2)              // o, the maximum m, the sum l
#define NONE (-1e30f)             // less than any score: next to one it weighs 0

struct __align__(sizeof(Kept::Bits) * VECTOR) Vector {
  Kept::Bits numbers[VECTOR];
};
// Read what this lane has of the key or value of a column; zeros, where there is none.
__device__ __forceinline__ void load(float (&to)[PER], const Kept::Bits *cache, int column,
                                     int room, bool valid) {
  const long long slot = column < room ? column : column % room;
  const Vector *from = (const Vector *)(cache + slot * D + threadIdx.x % LANES * PER);
#pragma unroll
  for (int v = 0; v < PER / VECTOR; v++) {
    Vector x = {};
    if (valid) x = from[v];
#pragma unroll
    for (int e = 0; e < VECTOR; e++) to[v * VECTOR + e] = Kept::widen(x.numbers[e]);
  }
}
// Merge n parts (n, G, PART) into one, or at the end into o (G, D).
__device__ __forceinline__ void merge(const float *parts, int n, float *to, bool end) {
  for (int i = threadIdx.x; i < G * D; i += THREADS) {
    const int head = i / D, c = i % D;
    const float *part = parts + head * PART;
    float m = NONE, o = 0, l = 0;
#pragma unroll 4
    for (int p = 0; p < n; p++) m = fmaxf(m, part[p * G * PART + D]);
#pragma unroll 4
    for (int p = 0; p < n; p++) {
      const float rescale = exp2f(part[p * G * PART + D] - m);
      o += rescale * part[p * G * PART + c];
      l += rescale * part[p * G * PART + D + 1];
    }
    if (end) {
      to[i] = o / l;
    } else {
      to[head * PART + c] = o;
      if (c == 0) to[head * PART + D] = m, to[head * PART + D + 1] = l;
    }
  }
}

// For at least 1 block: else the compiler spills registers, to have room for more blocks.
extern "C" __global__ void __launch_bounds__(THREADS, 1)
    decode_attention(const float *q, const Kept::Bits *keys, const Kept::Bits *values,
                     const int *state, float *parts, int *done, float *o, int room, int window,
                     float scale) {
  const int group = threadIdx.x / LANES, lane = threadIdx.x % LANES, key_head = blockIdx.y;
  const int end = state[1] + 1, begin = max(0, end - window);
  const int tiles = (end - begin + TILE - 1) / TILE, most = min(tiles, (int)gridDim.x);
  const int tiles_each = (tiles + most - 1) / most;
  const int splits = (tiles + tiles_each - 1) / tiles_each;
  if (blockIdx.x >= splits) return;  // a short text needs fewer blocks than the grid has
  const int from = begin + blockIdx.x * tiles_each * TILE, to = min(end, from + tiles_each * TILE);
  keys += (long long)key_head * room * D, values += (long long)key_head * room * D;
  q += key_head * G * D, o += key_head * G * D;

  float q_i[G][PER], o_i[G][PER] = {}, m_i[G], l_i[G] = {};
  for (int h = 0; h < G; h++) {
    m_i[h] = NONE;
#pragma unroll
    for (int e = 0; e < PER; e++) q_i[h][e] = q[h * D + lane * PER + e] * (scale * 1.44269504f);
  }
  for (int j0 = from; j0 < to; j0 += TILE) {  // as often for each lane: they add up together
    float s[AT_ONCE][G], x[AT_ONCE][PER];
#pragma unroll
    for (int u = 0; u < AT_ONCE; u++) {
      const int j = j0 + u * GROUPS + group;
      load(x[u], keys, j, room, j < to);
    }
#pragma unroll
    for (int u = 0; u < AT_ONCE; u++) {
#pragma unroll
      for (int h = 0; h < G; h++) {
        s[u][h] = 0;
#pragma unroll
        for (int e = 0; e < PER; e++) s[u][h] += q_i[h][e] * x[u][e];
#pragma unroll
        for (int d = LANES / 2; d; d /= 2) s[u][h] += __shfl_xor_sync(FULL, s[u][h], d);
        if (j0 + u * GROUPS + group >= to) s[u][h] = NONE;
      }
    }
#pragma unroll
    for (int u = 0; u < AT_ONCE; u++) {
      const int j = j0 + u * GROUPS + group;
      load(x[u], values, j, room, j < to);
    }
#pragma unroll
    for (int h = 0; h < G; h++) {
      float m_new = m_i[h];
#pragma unroll
      for (int u = 0; u < AT_ONCE; u++) m_new = fmaxf(m_new, s[u][h]);
      const float rescale = exp2f(m_i[h] - m_new);
      m_i[h] = m_new, l_i[h] *= rescale;
#pragma unroll
      for (int e = 0; e < PER; e++) o_i[h][e] *= rescale;
#pragma unroll
      for (int u = 0; u < AT_ONCE; u++) {
        const float p = exp2f(s[u][h] - m_new);
        l_i[h] += p;
#pragma unroll
        for (int e = 0; e < PER; e++) o_i[h][e] += p * x[u][e];
      }
    }
  }

  float *found = (float *)shared + group * G * PART;
  for (int h = 0; h < G; h++) {
#pragma unroll
    for (int e = 0; e < PER; e++) found[h * PART + lane * PER + e] = o_i[h][e];
    if (lane == 0) found[h * PART + D] = m_i[h], found[h * PART + D + 1] = l_i[h];
  }
  __syncthreads();  // what all groups found is there
  parts += (long long)key_head * gridDim.x * G * PART;
  float *mine = splits == 1 ? o : parts + (long long)blockIdx.x * G * PART;
  merge((float *)shared, GROUPS, mine, splits == 1);
  if (splits == 1) return;

  int *others = (int *)shared;  // whether some are still to come
  __threadfence();  // what this block found is seen before its count is
  __syncthreads();  // all of it is written, and shared memory has been read
  if (threadIdx.x == 0) {
    *others = atomicAdd(done + key_head, 1) < splits - 1;
    if (!*others) done[key_head] = 0;  // for the next token
  }
  __syncthreads();  // it is known who is last
  if (*others) return;
  __threadfence();  // what the others found is read after their counts
  merge(parts, splits, o, true);
}
