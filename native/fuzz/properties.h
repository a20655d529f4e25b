// What must hold for whatever bytes framing is given. libFuzzer looks for bytes for which it does
// not; the tests replay the bytes that it has kept, without clang.
#pragma once

#include <cstddef>
#include <cstdint>

namespace riolog::fuzz {

// Takes the input as what a disk may hold at a place. Returns what does not hold, nullptr when all
// does.
const char* verifyProperties(const uint8_t* input, size_t size);

// Takes the input as what a writer has put together, seals it, and damages what was sealed.
const char* sealProperties(const uint8_t* input, size_t size);

// Takes the input as slices of some memory, and copies them into a group.
const char* slicesProperties(const uint8_t* input, size_t size);

// Takes the input as pieces of one run of bytes.
const char* checksumProperties(const uint8_t* input, size_t size);

}  // namespace riolog::fuzz
