// Where a memory limit can be set, on hosts of every kind; and running programs.
#include "bench/support/memory_cgroup.h"

#include <filesystem>

#include "bench/support/child_process.h"
#include "tests/support/catch.h"

namespace sluice::bench {
namespace {

using testing::TempDir;
using testing::WriteFileOrDie;

class FakeHost {
 public:
  explicit FakeHost(const std::string& self_cgroup) {
    Write("proc/self/cgroup", self_cgroup);
    std::filesystem::create_directories(dir_.File("cgroup"));
  }
  void Write(const std::string& name, const std::string& text) {
    const std::string path = dir_.File(name);
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    WriteFileOrDie(path, text);
  }
  std::string File(const std::string& name) const { return dir_.File(name); }
  HostPaths paths() const { return {dir_.File("proc"), dir_.File("cgroup")}; }

 private:
  TempDir dir_;
};

TEST_CASE("version 1: the own group first, then those above it", "[bench]") {
  FakeHost host("3:cpu,cpuacct:/other\n2:memory:/a/b\n");
  host.Write("cgroup/memory/memory.limit_in_bytes", "1\n");
  host.Write("cgroup/memory/a/b/cgroup.procs", "");
  const auto found = FindMemoryHierarchy(host.paths());
  REQUIRE_OK(found);
  CHECK(found->version == 1);
  const std::string mount = host.File("cgroup/memory");
  CHECK(found->folders == std::vector<std::string>{mount + "/a/b", mount + "/a", mount});
}

TEST_CASE("a path of the host's that is not mounted here is left out", "[bench]") {
  FakeHost host("2:memory:/docker/0123\n");
  host.Write("cgroup/memory/memory.limit_in_bytes", "1\n");
  const auto found = FindMemoryHierarchy(host.paths());
  REQUIRE_OK(found);
  CHECK(found->folders == std::vector<std::string>{host.File("cgroup/memory")});
}

TEST_CASE("version 2: only groups that hand the controller on", "[bench]") {
  FakeHost host("0::/user/app\n");
  host.Write("cgroup/cgroup.controllers", "cpu memory\n");
  host.Write("cgroup/cgroup.subtree_control", "cpu memory\n");
  host.Write("cgroup/user/cgroup.subtree_control", "memory pids\n");
  host.Write("cgroup/user/app/cgroup.subtree_control", "\n");
  const auto found = FindMemoryHierarchy(host.paths());
  REQUIRE_OK(found);
  CHECK(found->version == 2);
  CHECK(found->folders ==
        std::vector<std::string>{host.File("cgroup/user"), host.File("cgroup")});
}

TEST_CASE("a host without a limit says what is missing", "[bench]") {
  FakeHost host("0::/\n");
  auto found = FindMemoryHierarchy(host.paths());
  CHECK(absl::IsFailedPrecondition(found.status()));
  CHECK_THAT(found.status().ToString(), Catch::Contains("neither a cgroup v1"));
  host.Write("cgroup/cgroup.controllers", "cpu memory\n");
  host.Write("cgroup/cgroup.subtree_control", "cpu\n");
  found = FindMemoryHierarchy(host.paths());
  CHECK_THAT(found.status().ToString(), Catch::Contains("echo +memory"));
}

TEST_CASE("a program's words and end are kept", "[bench]") {
  auto child = RunChild({"sh", "-c", "echo out; echo 1 >&2; echo 2 >&2; echo 3 >&2; exit 3"}, {});
  REQUIRE_OK(child);
  CHECK(child->output == "out\n");
  CHECK(child->What() == "exit status 3: 2 / 3");
  CHECK_FALSE(child->ok());
  child = RunChild({"sh", "-c", "kill -9 $$"}, {});
  REQUIRE_OK(child);
  CHECK(child->What() == "killed by signal 9");
  child = RunChild({"/no/such/program"}, {});
  REQUIRE_OK(child);
  CHECK(child->exit_code == 127);
  CHECK_THAT(child->What(), Catch::Contains("cannot run /no/such/program"));
  child = RunChild({"true"}, {"/no/such/group/cgroup.procs", false});
  REQUIRE_OK(child);
  CHECK(child->exit_code == 126);
}

TEST_CASE("much on both streams does not block", "[bench]") {
  const auto child = RunChild(
      {"sh", "-c", "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2"}, {});
  REQUIRE_OK(child);
  CHECK(child->ok());
  CHECK(child->output.size() == 1000000);
  CHECK(child->errors.size() <= 128 << 10);
}

}  // namespace
}  // namespace sluice::bench
