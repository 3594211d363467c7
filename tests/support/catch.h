// Catch2, 2.13 or 3, and the few words that tests share.
#ifndef SLUICE_TESTS_SUPPORT_CATCH_H_
#define SLUICE_TESTS_SUPPORT_CATCH_H_

#include <cstdint>
#include <string>

#ifdef SLUICE_CATCH2_V3
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#ifdef SLUICE_CATCH2_V3
// The names of 2.13; 3 has another Contains, for ranges.
namespace Catch {
using Matchers::EndsWith;
using Matchers::StartsWith;
inline auto Contains(const std::string& part) { return Matchers::ContainsSubstring(part); }
}  // namespace Catch
using Catch::Approx;
#endif

namespace sluice::testing {

inline absl::Status StatusOf(const absl::Status& status) { return status; }
template <typename T>
absl::Status StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// The seed of this run: the SLUICE_SEED variable, or 1. Random tests use it and INFO() it.
uint64_t Seed();

// Puts the seed on the first line of every test program's output.
bool ShowSeed();
inline const bool kSeedShown = ShowSeed();

// Ends the program with exit code 4, which ctest shows as "skipped".
[[noreturn]] void SkipProgram(const std::string& why);

// A fresh folder that is removed when the object goes.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

std::string ReadFileOrDie(const std::string& path);
void WriteFileOrDie(const std::string& path, const std::string& content);

}  // namespace sluice::testing

#define REQUIRE_OK(expr)                                              \
  do {                                                                \
    const absl::Status sluice_st_ = ::sluice::testing::StatusOf(expr); \
    INFO(#expr << ": " << sluice_st_.ToString());                     \
    REQUIRE(sluice_st_.ok());                                         \
  } while (false)

#endif  // SLUICE_TESTS_SUPPORT_CATCH_H_
