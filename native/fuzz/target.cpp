// A libFuzzer target for one set of properties, which RIOLOG_FUZZ_PROPERTIES names.
#include <cstdio>
#include <cstdlib>

#include "properties.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* input, size_t size) {
  if (const char* wrong = riolog::fuzz::RIOLOG_FUZZ_PROPERTIES(input, size)) {
    std::fprintf(stderr, "does not hold: %s\n", wrong);
    std::abort();
  }
  return 0;
}
