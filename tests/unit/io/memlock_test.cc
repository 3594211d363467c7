// Registering buffers under a limit on locked memory. Skipped as a whole where the kernel refuses
// io_uring, or without root, who alone can become a user with a limit of our choice.
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "lib/io/storage_file.h"
#include "tests/support/catch.h"
#include "tests/unit/io/sandbox.h"

namespace sluice::testing {

TEST_CASE("too small a memlock limit means unregistered reads, with figures", "[io]") {
  if (geteuid() != 0) SkipProgram("needs root to become another user");
  TempDir dir;
  const std::string content = RandomBytes(100000, Seed());
  WriteFileOrDie(dir.File("data"), content);
  auto file = StorageFile::Open(dir.File("data"));
  REQUIRE_OK(file);
  const absl::Status works = MakeIoEngine(*file, EngineChoice::kUring, 1, {}).status();
  if (!works.ok()) SkipProgram(std::string(works.message()));
  constexpr size_t kBytes = size_t{1} << 20;
  auto memory = AlignedBuffer::Allocate(kBytes);
  REQUIRE_OK(memory);
  const ChildResult child = RunInChild([&]() -> std::string {
    if (!DropToUserWithMemlock(65536)) return "cannot drop rights";
    const IoSegment buffer{memory->data(), memory->size()};
    auto engine = MakeIoEngine(*file, EngineChoice::kUring, 8, {&buffer, 1});
    if (!engine.ok()) return engine.status().ToString();
    const IoCapabilities& capabilities = (*engine)->capabilities();
    return absl::StrCat(capabilities.engine, "|", capabilities.registered, "|",
                        capabilities.reason, "|",
                        ReadStart(engine->get(), content, &*memory));
  });
  INFO(child.output);
  CHECK(child.exited);
  CHECK_THAT(child.output, Catch::StartsWith("uring|0|"));
  CHECK_THAT(child.output, Catch::Contains("1048576"));
  CHECK_THAT(child.output, Catch::Contains("65536"));
  CHECK_THAT(child.output, Catch::EndsWith("|ok"));
}

TEST_CASE("reopening right after closing registers again", "[io]") {
  if (geteuid() != 0) SkipProgram("needs root to become another user");
  TempDir dir;
  const std::string content = RandomBytes(100000, Seed());
  WriteFileOrDie(dir.File("data"), content);
  auto file = StorageFile::Open(dir.File("data"));
  REQUIRE_OK(file);
  const absl::Status works = MakeIoEngine(*file, EngineChoice::kUring, 1, {}).status();
  if (!works.ok()) SkipProgram(std::string(works.message()));
  constexpr size_t kBytes = size_t{1} << 20;
  auto memory = AlignedBuffer::Allocate(kBytes);
  REQUIRE_OK(memory);
  const ChildResult child = RunInChild([&]() -> std::string {
    // Room for one registration, not for two.
    if (!DropToUserWithMemlock(kBytes * 3 / 2)) return "cannot drop rights";
    int registered = 0;
    for (int i = 0; i < 20; ++i) {
      const IoSegment buffer{memory->data(), memory->size()};
      auto engine = MakeIoEngine(*file, EngineChoice::kUring, 8, {&buffer, 1});
      if (!engine.ok()) return engine.status().ToString();
      registered += (*engine)->capabilities().registered ? 1 : 0;
    }
    return absl::StrCat(registered);
  });
  CHECK(child.output == "20");
}

}  // namespace sluice::testing
