// A limit that the kernel enforces. Skipped as a whole where none can be set.
#include <filesystem>

#include "bench/support/child_process.h"
#include "bench/support/memory_cgroup.h"
#include "tests/support/catch.h"

namespace sluice::bench {
namespace {

constexpr uint64_t kLimit = uint64_t{64} << 20;

std::unique_ptr<MemoryCgroup> Make() {
  auto group = MemoryCgroup::Create(kLimit);
  if (!group.ok()) testing::SkipProgram(std::string(group.status().message()));
  return *std::move(group);
}

// dd takes a buffer of `size` and fills it.
ChildResult Fill(const MemoryCgroup& group, const std::string& size) {
  const auto child = RunChild({"dd", "if=/dev/zero", "of=/dev/null", "bs=" + size, "count=1"},
                              {group.procs_path(), false});
  REQUIRE_OK(child);
  return *child;
}

TEST_CASE("a program within the limit runs, and its peak is seen", "[bench]") {
  const auto group = Make();
  CHECK(Fill(*group, "16M").ok());
  CHECK(group->usage().peak_bytes >= 16 << 20);
  CHECK(group->usage().peak_bytes <= kLimit);
  CHECK(group->usage().oom_kills == 0);
}

TEST_CASE("a program over the limit is killed", "[bench]") {
  const auto group = Make();
  CHECK(Fill(*group, "128M").signal == 9);
  CHECK(group->usage().oom_kills >= 1);
  CHECK(group->usage().peak_bytes <= kLimit);
}

TEST_CASE("a group is its program's alone, and goes with the object", "[bench]") {
  std::string folder;
  {
    const auto first = Make();
    folder = first->folder();
    CHECK(Fill(*first, "16M").ok());
    const auto second = Make();
    CHECK(second->folder() != folder);
    CHECK(second->usage().peak_bytes < 16 << 20);
  }
  CHECK_FALSE(std::filesystem::exists(folder));
}

TEST_CASE("what a program left running goes with the group", "[bench]") {
  std::string folder;
  {
    const auto group = Make();
    folder = group->folder();
    const auto child = RunChild({"sh", "-c", "sleep 600 >/dev/null 2>&1 & exit 0"},
                                {group->procs_path(), false});
    REQUIRE_OK(child);
  }
  CHECK_FALSE(std::filesystem::exists(folder));
}

}  // namespace
}  // namespace sluice::bench
