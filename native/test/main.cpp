// Runs the cases whose names contain the first argument; all without one. A line for each on
// stdout: `ok NAME`, `not ok NAME` or `skip NAME # REASON`. The exit code is 1 when a case failed.
#include <cstdio>
#include <cstring>

#include "core/crc32c.h"
#include "harness.h"

using riolog::test::allCases;
using riolog::test::Case;
using riolog::test::Outcome;
using riolog::test::outcome;

int main(int argc, char** argv) {
  const char* filter = argc > 1 ? argv[1] : "";
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  std::printf("# crc32c runs as %s\n", riolog::crc32cVersions().front().name);
  size_t failed = 0;
  for (const Case& test : allCases()) {
    if (std::strstr(test.name, filter) == nullptr) continue;
    outcome() = Outcome{};
    test.run();
    const Outcome& result = outcome();
    if (result.failedChecks > 0) {
      std::fprintf(stderr, "%s: %zu checks failed\n", test.name, result.failedChecks);
      std::printf("not ok %s\n", test.name);
      failed++;
    } else if (!result.skipReason.empty()) {
      std::printf("skip %s # %s\n", test.name, result.skipReason.c_str());
    } else {
      std::printf("ok %s\n", test.name);
    }
  }
  return failed == 0 ? 0 : 1;
}
