// What tinyllm_cuda/kernels/ptx_sm80.h declares, without the instructions: the same functions in
// C++, found in its place. cp.async moves nothing before it is waited for, or in shuffled order it
// moves it at once: CUDA may do either.
#pragma once
typedef unsigned short half_t;

namespace emulator {
inline float to_float(unsigned short bits) {
#ifdef FP16
  _Float16 x;
  memcpy(&x, &bits, 2);
  return (float)x;
#else
  return __uint_as_float((unsigned)bits << 16);
#endif
}
inline unsigned short to_half(float x) {  // to nearest, ties to even
#ifdef FP16
  _Float16 rounded = (_Float16)x;
  unsigned short bits;
  memcpy(&bits, &rounded, 2);
  return bits;
#else
  unsigned bits = __float_as_uint(x);
  if ((bits & 0x7fffffff) > 0x7f800000) return 0x7fff;
  return (unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
#endif
}
inline void run(const Copy &copy) {
  memset(copy.to, 0, copy.bytes);
  memcpy(copy.to, copy.from, copy.filled);
}
template <bool TRANSPOSED>
inline void ldmatrix(unsigned (&r)[4], const void *row) {
  using Lanes = unsigned char (*)[64];
  unsigned char *mine = meet(~0u, &row, sizeof row, [](Lanes in, Lanes out) {
    for (int m = 0; m < 4; m++) {
      unsigned short matrix[8][8];
      for (int i = 0; i < 8; i++) {
        const void *p;
        memcpy(&p, in[m * 8 + i], sizeof p);
        if ((uintptr_t)p % 16) refuse("ldmatrix: a row is not aligned to 16 bytes");
        memcpy(matrix[i], p, 16);
      }
      for (int lane = 0; lane < 32; lane++)
        for (int e = 0; e < 2; e++) {
          int i = lane / 4, j = lane % 4 * 2 + e;
          memcpy(out[lane] + 4 * m + 2 * e, TRANSPOSED ? &matrix[j][i] : &matrix[i][j], 2);
        }
    }
  });
  memcpy(r, mine, 16);
}
}  // namespace emulator

static inline unsigned shared_address(const void *p) {
  return (unsigned)((const unsigned char *)p - shared);
}
static inline void cp_async16(void *to, const void *from, bool valid) {
  if ((uintptr_t)to % 16 || (valid && (uintptr_t)from % 16))
    emulator::refuse("cp.async: not aligned to 16 bytes");
  emulator::Copy copy{to, from, 16, valid ? 16 : 0};
  if (emulator::block->order == emulator::SHUFFLED) emulator::run(copy);
  else emulator::self().open_copies.push_back(copy);
}
static inline void cp_async_commit() {
  auto &fiber = emulator::self();
  fiber.committed_copies.push_back(std::move(fiber.open_copies));
  fiber.open_copies.clear();
}
template <int N>
static inline void cp_async_wait() {
  auto &groups = emulator::self().committed_copies;
  while ((int)groups.size() > N) {
    for (auto &copy : groups.front()) emulator::run(copy);
    groups.erase(groups.begin());
  }
}
static inline void ldmatrix_x4(unsigned (&r)[4], const void *row) {
  emulator::ldmatrix<false>(r, row);
}
static inline void ldmatrix_x4_t(unsigned (&r)[4], const void *row) {
  emulator::ldmatrix<true>(r, row);
}

static inline void mma_m16n8k16(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  struct Held {
    unsigned a[4], b[2];
    float c[4];
  } held{{a[0], a[1], a[2], a[3]}, {b0, b1}, {c[0], c[1], c[2], c[3]}};
  using Lanes = unsigned char (*)[64];
  unsigned char *mine = emulator::meet(~0u, &held, sizeof held, [](Lanes in, Lanes out) {
    float A[16][16], B[16][8], C[16][8];
    for (int lane = 0; lane < 32; lane++) {
      Held h;
      memcpy(&h, in[lane], sizeof h);
      int g = lane / 4, t = lane % 4 * 2;
      auto part = [](unsigned pair, int e) { return emulator::to_float(pair >> 16 * e); };
      for (int e = 0; e < 2; e++) {
        for (int r = 0; r < 4; r++) A[g + r % 2 * 8][t + r / 2 * 8 + e] = part(h.a[r], e);
        for (int r = 0; r < 2; r++) B[t + r * 8 + e][g] = part(h.b[r], e);
      }
      for (int r = 0; r < 4; r++) C[g + r / 2 * 8][t + r % 2] = h.c[r];
    }
    for (int i = 0; i < 16; i++)
      for (int k = 0; k < 16; k++)
        for (int j = 0; j < 8; j++) C[i][j] += A[i][k] * B[k][j];
    for (int lane = 0; lane < 32; lane++)
      for (int r = 0; r < 4; r++)
        memcpy(out[lane] + 4 * r, &C[lane / 4 + r / 2 * 8][lane % 4 * 2 + r % 2], 4);
  });
  memcpy(c, mine, 16);
}
static inline unsigned pack2(float low, float high) {
  return emulator::to_half(low) | (unsigned)emulator::to_half(high) << 16;
}
static inline float low_half(unsigned x) { return emulator::to_float(x & 0xffff); }
static inline float high_half(unsigned x) { return emulator::to_float(x >> 16); }
static inline float exp2_fast(float x) { return exp2f(x); }
