// What tinyllm_cuda/kernels/ptx_f16.h declares, without the instructions.
#pragma once
static inline float float_of_f16(unsigned short bits) {
  _Float16 x;
  memcpy(&x, &bits, sizeof x);
  return (float)x;
}
static inline unsigned short f16_of_float(float x) {
  _Float16 rounded = (_Float16)x;
  unsigned short bits;
  memcpy(&bits, &rounded, sizeof bits);
  return bits;
}
