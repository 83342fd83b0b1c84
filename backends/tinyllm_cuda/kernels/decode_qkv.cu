// One token: RMSNorm, its query, key and value of each head with their biases, the turn of RoPE,
// and the new column of the KV cache. A warp has rows i and i + d/2 of a head, the pair that RoPE
// turns. Equals tinyllm.layers.attention.self_attention_forward up to its attention.
//
// x (C,), gain (C,), W_q (H d, C), W_k, W_v (K d, C) with scales as in weights.h, biases,
// frequencies (d/2,) in turns per position, state: token, position, … -> q (H, d), and keys, values
// (K, room, d) at column position mod room, in KV_FORMAT
#include "ptx_f16.h"
#include "vector.h"
typedef Number<KV_FORMAT> Kept;

extern "C" __global__ void __launch_bounds__(256)
    decode_qkv(const float *x, const float *gain, const void *w_q, const float *s_q,
               const float *b_q, const void *w_k, const float *s_k, const float *b_k,
               const void *w_v, const float *s_v, const float *b_v, const double *frequencies,
               const int *state, float *q, Kept::Bits *keys, Kept::Bits *values, int H, int K,
               int d, int room, int C, float eps, float rope_scale) {
  const float *vector = load_normalised(x, gain, C, eps);
  const int position = state[1], pairs = d / 2;
  for (int task = first_task(); task < (H + 2 * K) * pairs; task += all_warps()) {
    const int i = task % pairs, part = task / pairs < H ? 0 : task / pairs < H + K ? 1 : 2;
    const int head = task / pairs - (part == 0 ? 0 : part == 1 ? H : H + K), row = head * d + i;
    const void *weight = part == 0 ? w_q : part == 1 ? w_k : w_v;
    const float *scales = part == 0 ? s_q : part == 1 ? s_k : s_v;
    const float *bias = part == 0 ? b_q : part == 1 ? b_k : b_v;
    const Row rows[2] = {row_of(weight, scales, row, C), row_of(weight, scales, row + pairs, C)};
    float y[2];
    multiply(y, rows, vector, C);
    if (threadIdx.x % 32 != 0) continue;
    y[0] += bias[row], y[1] += bias[row + pairs];
    if (part != 2) {
      const double turns = position * frequencies[i];  // in float, 100,000 is a hundredth off
      float sine, cosine;
      sincospif(2 * (float)(turns - rint(turns)), &sine, &cosine);
      sine *= rope_scale, cosine *= rope_scale;
      const float first = y[0] * cosine - y[1] * sine;
      y[1] = y[1] * cosine + y[0] * sine, y[0] = first;
    }
    if (part == 0) {
      q[row] = y[0], q[row + pairs] = y[1];
    } else {
      const long long at = ((long long)head * room + position % room) * d + i;
      Kept::Bits *cache = part == 1 ? keys : values;
      cache[at] = Kept::round(y[0]), cache[at + pairs] = Kept::round(y[1]);
    }
  }
}
