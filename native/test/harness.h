// A test harness of one page. A case is a named function; a check that fails prints where and what,
// and the case goes on, so that one run shows all that is wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>
#include <type_traits>
#include <vector>

namespace riolog::test {

struct Case {
  const char* name;
  void (*run)();
};

inline std::vector<Case>& allCases() {
  static std::vector<Case> cases;
  return cases;
}

// What has become of the case that is running.
struct Outcome {
  size_t failedChecks = 0;
  std::string skipReason;
};

inline Outcome& outcome() {
  static Outcome current;
  return current;
}

struct Registration {
  Registration(const char* name, void (*run)()) { allCases().push_back({name, run}); }
};

// The case counts as skipped; the test program names it together with the reason.
inline void skip(const std::string& reason) { outcome().skipReason = reason; }

// A loop over every bit must not print a line for each.
constexpr size_t kPrintedFailures = 5;

inline void fail(const char* file, int line, const std::string& what) {
  if (outcome().failedChecks++ < kPrintedFailures) {
    std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
  }
}

template <typename T>
std::string show(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_enum_v<T>) {
    return std::to_string(static_cast<int64_t>(value));
  } else if constexpr (std::is_pointer_v<T>) {
    return value == nullptr ? "nullptr" : "a pointer";
  } else {
    return std::to_string(value);
  }
}

template <typename A, typename B>
void checkEqual(const char* file, int line, const char* text, const A& actual, const B& wanted) {
  if (actual == static_cast<A>(wanted)) return;
  fail(file, line,
       std::string(text) + ": got " + show(actual) + ", want " + show(static_cast<A>(wanted)));
}

// A small generator (xorshift64*), so that a failure comes again with the same seed.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed == 0 ? 1 : seed) {}
  uint64_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return state_ * 0x2545F4914F6CDD1DULL;
  }
  uint32_t below(uint32_t limit) { return static_cast<uint32_t>((next() >> 32) % limit); }
  void fill(uint8_t* bytes, size_t length) {
    for (size_t i = 0; i < length; i++) bytes[i] = static_cast<uint8_t>(next() >> 56);
  }

 private:
  uint64_t state_;
};

}  // namespace riolog::test

// Names a function and its registration after the line, so that a case needs no name of its own.
#define RIOLOG_JOIN_2(a, b) a##b
#define RIOLOG_JOIN(a, b) RIOLOG_JOIN_2(a, b)
#define TEST(name)                                                             \
  static void RIOLOG_JOIN(run, __LINE__)();                                    \
  static const ::riolog::test::Registration RIOLOG_JOIN(registered, __LINE__)( \
      name, RIOLOG_JOIN(run, __LINE__));                                       \
  static void RIOLOG_JOIN(run, __LINE__)()

#define CHECK(condition)                                                    \
  do {                                                                      \
    if (!(condition)) ::riolog::test::fail(__FILE__, __LINE__, #condition); \
  } while (false)

#define CHECK_EQUAL(actual, wanted) \
  ::riolog::test::checkEqual(__FILE__, __LINE__, #actual, (actual), (wanted))
