// AtomicFile: the final name is absent, old or complete, whatever happens.
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <thread>

#include "lib/io/file.h"
#include "tests/support/catch.h"
#include "tests/unit/io/sandbox.h"

namespace sluice::testing {
namespace {

absl::Span<const std::byte> BytesOf(const std::string& text) {
  return absl::MakeConstSpan(reinterpret_cast<const std::byte*>(text.data()), text.size());
}

int CountEntries(const std::string& folder) {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder)) ++count;
  return count;
}

std::unique_ptr<AtomicFile> CreateOrFail(const std::string& path) {
  auto file = AtomicFile::Create(path);
  REQUIRE_OK(file);
  return *std::move(file);
}

// In a child where `calls` fail: the status of writing "new" to `path`.
std::string CommitWithout(const std::string& path, const std::vector<int>& calls, int error) {
  auto file = AtomicFile::Create(path);
  if (!file.ok()) return file.status().ToString();
  absl::Status status = (*file)->WriteAt(0, BytesOf("new"));
  if (!status.ok()) return status.ToString();
  if (!DenySyscalls(calls, error)) return "no seccomp";
  status = (*file)->Commit();
  // A second attempt must not succeed by a second fsync either.
  const absl::Status again = (*file)->Commit();
  return status.ToString() + "|" + (again.ok() ? "ok" : "failed");
}

}  // namespace

TEST_CASE("committed content appears under the final name", "[io]") {
  TempDir dir;
  const std::string path = dir.File("out.flash");
  std::unique_ptr<AtomicFile> file = CreateOrFail(path);
  CHECK(file->final_path() == path);
  CHECK_THAT(file->temporary_path(),
             Catch::StartsWith(dir.path() + "/.out.flash.sluice-tmp-" + std::to_string(getpid())));
  REQUIRE_OK(file->Reserve(1 << 16));
  REQUIRE_OK(file->WriteAt(5, BytesOf("world")));
  REQUIRE_OK(file->WriteAt(0, BytesOf("hello")));
  std::string back(10, '\0');
  const auto out = absl::MakeSpan(reinterpret_cast<std::byte*>(back.data()), back.size());
  REQUIRE_OK(file->ReadAt(0, out));
  CHECK(back == "helloworld");
  CHECK(absl::IsDataLoss(file->ReadAt(1, out)));
  REQUIRE_OK(file->Sync());
  CHECK_FALSE(FileExists(path));
  REQUIRE_OK(file->Commit());
  CHECK(ReadFileOrDie(path) == "helloworld");
  CHECK_FALSE(FileExists(file->temporary_path()));
  CHECK(absl::IsFailedPrecondition(file->Commit()));
  file.reset();
  CHECK(ReadFileOrDie(path) == "helloworld");
  CHECK(CountEntries(dir.path()) == 1);
}

TEST_CASE("without commit nothing is left, and the old file stays", "[io]") {
  TempDir dir;
  WriteFileOrDie(dir.File("out"), "old");
  std::unique_ptr<AtomicFile> file = CreateOrFail(dir.File("out"));
  REQUIRE_OK(file->WriteAt(0, BytesOf("new")));
  file.reset();
  CHECK(ReadFileOrDie(dir.File("out")) == "old");
  CHECK(CountEntries(dir.path()) == 1);
}

TEST_CASE("a name without a folder is relative to where it was created", "[io]") {
  TempDir dir;
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::current_path(dir.path());
  std::unique_ptr<AtomicFile> file = CreateOrFail("out");
  std::filesystem::current_path(before);
  REQUIRE_OK(file->WriteAt(0, BytesOf("x")));
  REQUIRE_OK(file->Commit());
  CHECK(ReadFileOrDie(dir.File("out")) == "x");
}

TEST_CASE("targets that cannot be files are refused at once", "[io]") {
  TempDir dir;
  CHECK(absl::IsInvalidArgument(AtomicFile::Create(dir.path()).status()));
  CHECK(absl::IsInvalidArgument(AtomicFile::Create(dir.path() + "/").status()));
  CHECK(absl::IsInvalidArgument(AtomicFile::Create("").status()));
  CHECK(absl::IsInvalidArgument(AtomicFile::Create("/dev/null").status()));
  const absl::Status status = AtomicFile::Create(dir.File("no/out")).status();
  CHECK(absl::IsNotFound(status));
  CHECK_THAT(std::string(status.message()), Catch::Contains(dir.File("no/out")));
}

TEST_CASE("leftovers go, living writers and strangers stay", "[io]") {
  TempDir dir;
  WriteFileOrDie(dir.File(".out.sluice-tmp-1-0"), "left by a run that was killed");
  WriteFileOrDie(dir.File(".other.sluice-tmp-1-0"), "another target");
  WriteFileOrDie(dir.File(".out.sluice-tmp-notes"), "not one of ours");
  std::unique_ptr<AtomicFile> first = CreateOrFail(dir.File("out"));
  CHECK_FALSE(FileExists(dir.File(".out.sluice-tmp-1-0")));
  CHECK(FileExists(dir.File(".other.sluice-tmp-1-0")));
  CHECK(FileExists(dir.File(".out.sluice-tmp-notes")));
  std::unique_ptr<AtomicFile> second = CreateOrFail(dir.File("out"));
  CHECK(FileExists(first->temporary_path()));
  REQUIRE_OK(first->WriteAt(0, BytesOf("one")));
  REQUIRE_OK(second->WriteAt(0, BytesOf("two")));
  REQUIRE_OK(first->Commit());
  REQUIRE_OK(second->Commit());
  CHECK(ReadFileOrDie(dir.File("out")) == "two");
}

TEST_CASE("a killed writer leaves no final file, and its leftover goes", "[io][fault]") {
  TempDir dir;
  const std::string path = dir.File("out");
  for (int delay_us = 0; delay_us < 3000; delay_us += 150) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      auto file = AtomicFile::Create(path);
      const std::string block(4096, 'x');
      for (uint64_t i = 0; file.ok(); ++i) {
        if (!(*file)->WriteAt(i % 256 * 4096, BytesOf(block)).ok()) break;
      }
      _exit(1);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
    REQUIRE(kill(child, SIGKILL) == 0);
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
    CHECK_FALSE(FileExists(path));
  }
  CreateOrFail(path).reset();
  CHECK(CountEntries(dir.path()) == 0);
}

TEST_CASE("a forked child's exit does not remove its parent's file", "[io]") {
  TempDir dir;
  std::unique_ptr<AtomicFile> file = CreateOrFail(dir.File("out"));
  CHECK(RunInChild([&] {
          file.reset();
          return std::string();
        }).exited);
  CHECK(FileExists(file->temporary_path()));
  REQUIRE_OK(file->Commit());
}

TEST_CASE("a failed fsync or rename leaves the target as it was", "[io][fault]") {
  TempDir dir;
  const std::string path = dir.File("out");
  WriteFileOrDie(path, "old");
  const ChildResult fsync_fails =
      RunInChild([&] { return CommitWithout(path, {SYS_fsync}, EIO); });
  CHECK(fsync_fails.exited);
  CHECK_THAT(fsync_fails.output, Catch::StartsWith("UNAVAILABLE: " + path + ": fsync failed") &&
                                     Catch::Contains("EIO") && Catch::EndsWith("|failed"));
  const ChildResult rename_fails = RunInChild([&] {
    return CommitWithout(path, {SYS_rename, SYS_renameat, SYS_renameat2}, EXDEV);
  });
  CHECK(rename_fails.exited);
  CHECK_THAT(rename_fails.output,
             Catch::StartsWith("UNAVAILABLE: " + path + ": cannot rename") &&
                 Catch::Contains("EXDEV"));
  CHECK(ReadFileOrDie(path) == "old");
  CHECK(CountEntries(dir.path()) == 1);
}

TEST_CASE("a full disk is an error with need and free, and changes nothing", "[io][fault]") {
  TempDir dir;
  const std::string mount_point = dir.File("small");
  REQUIRE(mkdir(mount_point.c_str(), 0700) == 0);
  if (mount("tmpfs", mount_point.c_str(), "tmpfs", 0, "size=1m") != 0) {
    WARN("not tested: a small tmpfs cannot be mounted here");
    return;
  }
  const std::string path = mount_point + "/out";
  WriteFileOrDie(path, "old");
  {
    std::unique_ptr<AtomicFile> file = CreateOrFail(path);
    const absl::Status reserved = file->Reserve(4 << 20);
    CHECK(absl::IsResourceExhausted(reserved));
    CHECK_THAT(std::string(reserved.message()),
               Catch::Contains(path) && Catch::Contains("need 4194304 bytes") &&
                   Catch::Contains("free ") && Catch::Contains("ENOSPC"));
    const absl::Status written = file->WriteAt(0, BytesOf(std::string(2 << 20, 'x')));
    CHECK(absl::IsResourceExhausted(written));
    CHECK_THAT(std::string(written.message()), Catch::Contains("need 2097152 bytes"));
  }
  CHECK(ReadFileOrDie(path) == "old");
  CHECK(CountEntries(mount_point) == 1);
  CHECK(umount(mount_point.c_str()) == 0);
}

TEST_CASE("a file size limit is an error, not a SIGXFSZ", "[io][fault]") {
  TempDir dir;
  WriteFileOrDie(dir.File("in"), std::string(200000, 'x'));
  const ChildResult child = RunInChild([&]() -> std::string {
    const rlimit limit{100000, 100000};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return "no limit";
    auto file = AtomicFile::Create(dir.File("out"));
    auto source = InputFile::Open(dir.File("in"));
    if (!file.ok() || !source.ok()) return "no file";
    const absl::Status fits = (*file)->WriteAt(0, BytesOf(std::string(100000, 'y')));
    if (!fits.ok()) return fits.ToString();
    for (const absl::Status& status :
         {(*file)->WriteAt(0, BytesOf(std::string(100001, 'y'))), (*file)->Reserve(100001),
          (*file)->Truncate(100001), (*file)->CopyFrom(**source, 200000)}) {
      if (!absl::IsResourceExhausted(status)) return status.ToString();
      if (status.message().find("100000 bytes (ulimit -f)") == std::string::npos) {
        return status.ToString();
      }
    }
    return "ok";
  });
  CHECK(child.signal == 0);
  CHECK(child.output == "ok");
}

TEST_CASE("CopyFrom copies, in the kernel or by hand", "[io]") {
  TempDir dir;
  const std::string content = RandomBytes((3 << 20) + 5, Seed());
  WriteFileOrDie(dir.File("in"), content);
  const auto copy = [&](uint64_t bytes) -> absl::Status {
    auto source = InputFile::Open(dir.File("in"));
    if (!source.ok()) return source.status();
    auto file = AtomicFile::Create(dir.File("out"));
    if (!file.ok()) return file.status();
    if (absl::Status status = (*file)->CopyFrom(**source, bytes); !status.ok()) return status;
    return (*file)->Commit();
  };
  REQUIRE_OK(copy(content.size() - 3));
  CHECK(ReadFileOrDie(dir.File("out")) == content.substr(0, content.size() - 3));
  for (const int error : {EXDEV, ENOSYS, EPERM}) {
    REQUIRE(unlink(dir.File("out").c_str()) == 0);
    const ChildResult child = RunInChild([&] {
      return DenySyscalls({SYS_copy_file_range}, error) ? copy(content.size()).ToString() : "no";
    });
    CHECK(child.output == "OK");
    CHECK(ReadFileOrDie(dir.File("out")) == content);
  }
  const absl::Status longer = copy(content.size() + 1);
  CHECK(absl::IsDataLoss(longer));
  CHECK_THAT(std::string(longer.message()), Catch::Contains(dir.File("in")));
}

TEST_CASE("Truncate sets the size", "[io]") {
  TempDir dir;
  std::unique_ptr<AtomicFile> file = CreateOrFail(dir.File("out"));
  REQUIRE_OK(file->WriteAt(0, BytesOf("0123456789")));
  REQUIRE_OK(file->Truncate(4));
  REQUIRE_OK(file->Commit());
  CHECK(ReadFileOrDie(dir.File("out")) == "0123");
}

}  // namespace sluice::testing
