// Files that are not whole files: slices behind a descriptor of the host's, and several in a row.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <random>

#include "lib/io/batch_reader.h"
#include "lib/io/storage_file.h"
#include "lib/io/storage_syscalls.h"
#include "tests/support/catch.h"
#include "tests/unit/io/sandbox.h"

namespace sluice::testing {
namespace {

constexpr uint64_t kPage = 4096;
// kAuto is io_uring where it works.
constexpr EngineChoice kChoices[] = {EngineChoice::kAuto, EngineChoice::kPread};

class HostFd {
 public:
  HostFd(const std::string& path, int flags) : fd_(open(path.c_str(), flags | O_CLOEXEC)) {
    REQUIRE(fd_ >= 0);
  }
  ~HostFd() { close(fd_); }
  int get() const { return fd_; }

 private:
  const int fd_;
};

// Reads of the whole, at random places, through the retries that short reads need.
void CheckReads(const std::shared_ptr<StorageFile>& file, const std::string& content,
                uint64_t unit) {
  INFO("seed " << Seed());
  for (const EngineChoice choice : kChoices) {
    for (const bool registered : {false, true}) {
      auto memory = AlignedBuffer::Allocate(size_t{12} << 20);
      REQUIRE_OK(memory);
      const IoSegment all{memory->data(), memory->size()};
      auto engine = MakeIoEngine(file, choice, 16, {&all, registered ? 1u : 0u});
      REQUIRE_OK(engine);
      BatchReader reader(*std::move(engine), file->path());
      INFO(reader.capabilities().engine << ": " << reader.capabilities().reason);
      for (const size_t max_segments : {1, 7}) {
        std::memset(memory->data(), 0, memory->size());
        std::mt19937_64 random(Seed() + max_segments);
        ReadSet set(content, memory->span());
        for (int i = 0; i < 40; ++i) {
          const size_t segment = unit * (1 + random() % 5);
          const size_t segments = 1 + random() % max_segments;
          if (segment * segments > content.size()) continue;
          const uint64_t offset = random() % ((content.size() - segment * segments) / unit + 1);
          REQUIRE(set.Add(offset * unit, segments, segment));
        }
        const std::vector<IoRead> reads = set.reads();
        REQUIRE_OK(reader.Start(reads));
        std::vector<FinishedRead> finished;
        while (reader.outstanding() > 0) REQUIRE_OK(reader.Wait(&finished));
        REQUIRE(finished.size() == reads.size());
        for (const FinishedRead& read : finished) REQUIRE_OK(read.status);
        for (size_t i = 0; i < set.size(); ++i) REQUIRE(set.Matches(i, set.Available(i)));
      }
    }
  }
}

void CheckReadAt(const StorageFile& file, const std::string& content) {
  std::string got(content.size(), '\0');
  const auto out = absl::MakeSpan(reinterpret_cast<std::byte*>(got.data()), got.size());
  REQUIRE_OK(file.ReadAt(0, out));
  CHECK(got == content);
  REQUIRE_OK(file.ReadAt(content.size() / 3, out.first(100)));
  CHECK(got.substr(0, 100) == content.substr(content.size() / 3, 100));
  CHECK(absl::IsDataLoss(file.ReadAt(content.size() - 10, out.first(11))));
  CHECK(absl::IsDataLoss(file.ReadAt(~uint64_t{0} - 5, out.first(11))));
}

// One read of a page that begins `before` bytes before the end.
int64_t ResultAtEnd(const std::shared_ptr<StorageFile>& file, EngineChoice choice,
                    uint64_t before) {
  auto memory = AlignedBuffer::Allocate(2 * kPage);
  REQUIRE_OK(memory);
  auto engine = MakeIoEngine(file, choice, 1, {});
  REQUIRE_OK(engine);
  const IoSegment segment{memory->data(), 2 * kPage};
  return RunAll(engine->get(), {{file->size() - before, {&segment, 1}, 0}})[0];
}

}  // namespace

TEST_CASE("a slice behind a descriptor has its own offsets and bounds", "[io]") {
  TempDir dir;
  const std::string whole = RandomBytes(600 * kPage, Seed());
  WriteFileOrDie(dir.File("archive"), whole);
  const bool direct_works = (*StorageFile::Open(dir.File("archive")))->direct_io();
  for (const uint64_t offset : {uint64_t{0}, 16 * kPage, 16 * kPage + 1, uint64_t{12345}}) {
    for (const uint64_t bytes : {300 * kPage, uint64_t{0}}) {
      INFO("offset " << offset << " bytes " << bytes);
      const std::string content = whole.substr(offset, bytes == 0 ? std::string::npos : bytes);
      const HostFd fd(dir.File("archive"), O_RDONLY);
      REQUIRE(lseek(fd.get(), 777, SEEK_SET) == 777);
      const int flags = fcntl(fd.get(), F_GETFL);
      auto file = StorageFile::OpenSlice({fd.get(), offset, bytes, "the slice"});
      REQUIRE_OK(file);
      CHECK((*file)->path() == "the slice");
      CHECK((*file)->size() == content.size());
      const bool aligned = offset % kPage == 0;
      CHECK((*file)->direct_io() == (aligned && direct_works));
      if (!aligned) CHECK_THAT((*file)->direct_reason(), Catch::Contains("is no multiple of 4096"));
      CheckReads(*file, content, (*file)->direct_io() ? kPage : 511);
      CheckReadAt(**file, content);
      CHECK(lseek(fd.get(), 0, SEEK_CUR) == 777);
      CHECK(fcntl(fd.get(), F_GETFL) == flags);
      CHECK((fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
    }
  }
}

TEST_CASE("nothing is read beyond the end of a slice", "[io]") {
  TempDir dir;
  WriteFileOrDie(dir.File("archive"), RandomBytes(64 * kPage, Seed()));
  const HostFd fd(dir.File("archive"), O_RDONLY);
  for (const uint64_t offset : {8 * kPage, 8 * kPage + 3}) {
    auto file = StorageFile::OpenSlice({fd.get(), offset, 16 * kPage, "the slice"});
    REQUIRE_OK(file);
    for (const EngineChoice choice : kChoices) {
      CHECK(ResultAtEnd(*file, choice, kPage) == static_cast<int64_t>(kPage));
      CHECK(ResultAtEnd(*file, choice, 0) == 0);
    }
  }
}

TEST_CASE("a descriptor may be closed, and its flags may be odd", "[io]") {
  TempDir dir;
  const std::string content = RandomBytes(100 * kPage, Seed());
  WriteFileOrDie(dir.File("data"), content);
  for (const int flags : {0, O_DIRECT, O_NONBLOCK}) {
    const int tried = open(dir.File("data").c_str(), O_RDONLY | O_CLOEXEC | flags);
    if (tried < 0) continue;  // no O_DIRECT on this file system
    close(tried);
    std::shared_ptr<StorageFile> file;
    {
      const HostFd fd(dir.File("data"), O_RDONLY | flags);
      auto opened = StorageFile::OpenSlice({fd.get(), 0, 0, "data"});
      if (!opened.ok() && flags == O_DIRECT) {
        // No second open here; then reads of any size are not to be had.
        CHECK(absl::IsInvalidArgument(opened.status()));
        continue;
      }
      REQUIRE_OK(opened);
      file = *opened;
      CHECK((fcntl(fd.get(), F_GETFL) & flags) == flags);
    }
    CheckReadAt(*file, content);
    CheckReads(file, content, kPage);
  }
}

TEST_CASE("without a second open reads are buffered, and the reason says so", "[io]") {
  TempDir dir;
  const std::string content = RandomBytes(100 * kPage, Seed());
  WriteFileOrDie(dir.File("data"), content);
  const HostFd fd(dir.File("data"), O_RDONLY);
  StorageSyscalls syscalls = StorageSyscalls::System();
  syscalls.open_direct = [](const std::string& path) {
    CHECK_THAT(path, Catch::StartsWith("/proc/self/fd/"));
    return -EACCES;
  };
  auto file = StorageFile::OpenSliceWith({fd.get(), 0, 0, "data"}, syscalls);
  REQUIRE_OK(file);
  CHECK(!(*file)->direct_io());
  CheckReads(*file, content, 511);
  auto engine = MakeIoEngine(*file, EngineChoice::kPread, 4, {});
  REQUIRE_OK(engine);
  CHECK_THAT((*engine)->capabilities().reason, Catch::Contains("EACCES"));
}

// io_uring answers EAGAIN for ever on a description that must not block, and the host's flag is
// not ours to clear.
TEST_CASE("a non-blocking descriptor that cannot be opened again is read by threads", "[io]") {
  TempDir dir;
  const std::string content = RandomBytes(10 * kPage, Seed());
  WriteFileOrDie(dir.File("data"), content);
  const ChildResult child = RunInChild([&]() -> std::string {
    const int fd = open(dir.File("data").c_str(), O_RDONLY | O_NONBLOCK);
    auto memory = AlignedBuffer::Allocate(2 * kPage);
    if (!memory.ok() || !DenySyscalls({SYS_openat, SYS_open}, EACCES)) return "no seccomp";
    auto file = StorageFile::OpenSlice({fd, 0, 0, "data"});
    if (!file.ok()) return file.status().ToString();
    const bool refused = absl::IsUnimplemented(
        MakeIoEngine(*file, EngineChoice::kUring, 4, {}).status());
    auto engine = MakeIoEngine(*file, EngineChoice::kAuto, 4, {});
    if (!engine.ok()) return engine.status().ToString();
    return (refused ? "refused|" : "taken|") + (*engine)->capabilities().reason + "|" +
           ReadStart(engine->get(), content, &*memory);
  });
  INFO(child.output);
  CHECK_THAT(child.output, Catch::StartsWith("refused|io_uring refused"));
  CHECK_THAT(child.output, Catch::EndsWith("|ok"));
}

TEST_CASE("what is no readable slice is refused with its numbers", "[io]") {
  TempDir dir;
  WriteFileOrDie(dir.File("data"), RandomBytes(10 * kPage, Seed()));
  const HostFd fd(dir.File("data"), O_RDONLY);
  const auto refusal = [](const StorageFile::Slice& slice) {
    const absl::Status status = StorageFile::OpenSlice(slice).status();
    CHECK(absl::IsInvalidArgument(status));
    return std::string(status.message());
  };
  CHECK_THAT(refusal({-1, 0, 0, "x"}), Catch::Contains("no descriptor -1"));
  CHECK_THAT(refusal({998, 0, 0, "x"}), Catch::Contains("no descriptor 998"));
  CHECK_THAT(refusal({fd.get(), 10 * kPage + 1, 0, "x"}), Catch::Contains("40961"));
  CHECK_THAT(refusal({fd.get(), kPage, 10 * kPage, "x"}),
             Catch::Contains("40960 bytes from offset 4096"));
  CHECK_THAT(refusal({fd.get(), ~uint64_t{0}, 2, "x"}), Catch::Contains("x: 2 bytes"));
  const HostFd writing(dir.File("data"), O_WRONLY);
  CHECK_THAT(refusal({writing.get(), 0, 0, "x"}), Catch::Contains("not open for reading"));
  const HostFd name_only(dir.File("data"), O_PATH);
  CHECK_THAT(refusal({name_only.get(), 0, 0, "x"}), Catch::Contains("not open for reading"));
  int pipes[2];
  REQUIRE(pipe(pipes) == 0);
  CHECK_THAT(refusal({pipes[0], 0, 0, "x"}), Catch::Contains("not a regular file"));
  close(pipes[0]);
  close(pipes[1]);
}

TEST_CASE("opening slices leaves no descriptors behind", "[io]") {
  TempDir dir;
  WriteFileOrDie(dir.File("data"), RandomBytes(10 * kPage, Seed()));
  const HostFd fd(dir.File("data"), O_RDONLY);
  const auto next_fd = [] {
    const int next = dup(0);
    close(next);
    return next;
  };
  const int before = next_fd();
  for (int i = 0; i < 20; ++i) {
    REQUIRE_OK(StorageFile::OpenSlice({fd.get(), kPage, 0, "x"}));
    CHECK_FALSE(StorageFile::OpenSlice({fd.get(), kPage, 1 << 30, "x"}).ok());
  }
  CHECK(next_fd() == before);
}

TEST_CASE("files in a row are one, across their boundaries", "[io]") {
  for (const uint64_t pages : {1, 3, 50}) {
    TempDir dir;
    const std::string content = RandomBytes(100 * kPage, Seed() + pages);
    std::vector<StorageFile::Part> parts;
    for (uint64_t at = 0; at < content.size(); at += pages * kPage) {
      const std::string part = content.substr(at, pages * kPage);
      const std::string path = dir.File(std::to_string(at));
      WriteFileOrDie(path, RandomBytes(kPage, at) + part);
      auto file = StorageFile::Open(path);
      REQUIRE_OK(file);
      parts.push_back({*file, kPage, part.size()});
    }
    const bool direct = parts[0].file->direct_io();
    const std::shared_ptr<StorageFile> whole = StorageFile::Join(std::move(parts), "whole");
    INFO("parts of " << pages << " pages");
    CHECK(whole->size() == content.size());
    CHECK(whole->direct_io() == direct);
    CheckReadAt(*whole, content);
    CheckReads(whole, content, direct ? kPage : 511);
    for (const EngineChoice choice : kChoices) {
      CHECK(ResultAtEnd(whole, choice, kPage) == static_cast<int64_t>(kPage));
      CHECK(ResultAtEnd(whole, choice, 0) == 0);
    }
  }
}

}  // namespace sluice::testing
