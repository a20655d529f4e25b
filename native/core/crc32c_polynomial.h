// Arithmetic of the polynomials that CRC32C is made of, for constants: bit 31 of a word is x^0.
#pragma once

#include <cstdint>

namespace riolog {

constexpr uint32_t kReflectedPolynomial = 0x82F63B78;

// The product of two polynomials modulo the CRC's.
constexpr uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = 1U << 31; bit != 0; bit >>= 1) {
    if ((a & bit) != 0) product ^= b;
    b = (b >> 1) ^ ((b & 1) ? kReflectedPolynomial : 0);
  }
  return product;
}

// x^exponent modulo the CRC's polynomial.
constexpr uint32_t powerOfX(uint32_t exponent) {
  uint32_t product = 1U << 31;
  for (uint32_t square = 1U << 30; exponent != 0; exponent >>= 1) {
    if ((exponent & 1) != 0) product = multiply(product, square);
    square = multiply(square, square);
  }
  return product;
}

}  // namespace riolog
