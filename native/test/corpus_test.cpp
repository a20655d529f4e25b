// Replays the inputs that fuzzing has kept, each a way through framing of its own.
#include <dirent.h>

#include <cstdio>
#include <string>
#include <vector>

#include "fuzz/properties.h"
#include "harness.h"

namespace riolog::test {
namespace {

using Properties = const char* (*)(const uint8_t*, size_t);

std::vector<uint8_t> readFile(const std::string& path) {
  std::vector<uint8_t> bytes;
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return bytes;
  uint8_t piece[4096];
  for (size_t n; (n = std::fread(piece, 1, sizeof piece, file)) > 0;) {
    bytes.insert(bytes.end(), piece, piece + n);
  }
  std::fclose(file);
  return bytes;
}

// Where the corpus is stands in the build, since a test program knows no other way.
void replay(const std::string& name, Properties properties) {
  const std::string folder = std::string(RIOLOG_CORPUS) + "/" + name;
  DIR* listing = opendir(folder.c_str());
  CHECK(listing != nullptr);
  if (listing == nullptr) return;
  size_t inputs = 0;
  while (const dirent* entry = readdir(listing)) {
    if (entry->d_name[0] == '.') continue;
    const std::vector<uint8_t> bytes = readFile(folder + "/" + entry->d_name);
    if (const char* wrong = properties(bytes.data(), bytes.size())) {
      fail(__FILE__, __LINE__, name + "/" + entry->d_name + " does not hold: " + wrong);
    }
    inputs++;
  }
  closedir(listing);
  CHECK(inputs > 0);
}

TEST("corpus: what verifies keeps its promises") { replay("verify", fuzz::verifyProperties); }

TEST("corpus: what is sealed verifies, and damage to it shows") {
  replay("seal", fuzz::sealProperties);
}

TEST("corpus: slices are copied whole, or refused") { replay("slices", fuzz::slicesProperties); }

TEST("corpus: checksums are those of the portable version") {
  replay("checksum", fuzz::checksumProperties);
}

}  // namespace
}  // namespace riolog::test
