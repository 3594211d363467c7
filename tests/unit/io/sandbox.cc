#include "tests/unit/io/sandbox.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "tests/support/catch.h"

namespace sluice::testing {

ChildResult RunInChild(const std::function<std::string()>& body) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    close(ends[0]);
    alarm(30);
    const std::string text = body();
    const ssize_t put = write(ends[1], text.data(), text.size());
    _exit(put == static_cast<ssize_t>(text.size()) ? 0 : 1);
  }
  close(ends[1]);
  ChildResult result;
  char buffer[4096];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0;) {
    result.output.append(buffer, static_cast<size_t>(got));
  }
  close(ends[0]);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  result.exited = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  result.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
  return result;
}

bool DenySyscalls(const std::vector<int>& numbers, int error_number) {
  std::vector<sock_filter> program;
  program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  for (const int number : numbers) {
    program.push_back(
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 1));
    program.push_back(BPF_STMT(
        BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error_number)));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

bool DropToUserWithMemlock(uint64_t memlock_bytes) {
  const rlimit limit{memlock_bytes, memlock_bytes};
  return setrlimit(RLIMIT_MEMLOCK, &limit) == 0 && setresuid(65534, 65534, 65534) == 0;
}

std::string RandomBytes(size_t bytes, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::string out(bytes + 8, '\0');
  for (size_t i = 0; i < bytes; i += 8) {
    const uint64_t word = random();
    std::memcpy(out.data() + i, &word, 8);
  }
  out.resize(bytes);
  return out;
}

bool ReadSet::Add(uint64_t offset, size_t num_segments, size_t segment_bytes) {
  const size_t needed = 2 * num_segments * segment_bytes;
  if (memory_.size() - used_ < needed) return false;
  std::vector<IoSegment> segments;
  for (size_t i = 0; i < num_segments; ++i) {
    segments.push_back({memory_.data() + used_, segment_bytes});
    used_ += 2 * segment_bytes;
  }
  offsets_.push_back(offset);
  segments_.push_back(std::move(segments));
  return true;
}

void ReadSet::AddRandom(std::mt19937_64* random, size_t count, size_t unit,
                        size_t max_segments) {
  for (size_t i = 0; i < count; ++i) {
    const uint64_t offset = (*random)() % (content_.size() / unit + 1) * unit;
    const size_t num_segments = 1 + (*random)() % max_segments;
    if (!Add(offset, num_segments, (1 + (*random)() % 4) * unit)) return;
  }
}

std::vector<IoRead> ReadSet::reads() const {
  std::vector<IoRead> reads;
  for (size_t i = 0; i < offsets_.size(); ++i) reads.push_back({offsets_[i], segments_[i], i});
  return reads;
}

uint64_t ReadSet::Available(size_t i) const {
  uint64_t total = 0;
  for (const IoSegment& segment : segments_[i]) total += segment.bytes;
  const uint64_t left = content_.size() - std::min<uint64_t>(content_.size(), offsets_[i]);
  return std::min(total, left);
}

bool ReadSet::Matches(size_t i, uint64_t bytes) const {
  uint64_t position = offsets_[i];
  for (const IoSegment& segment : segments_[i]) {
    const size_t part = std::min<uint64_t>(segment.bytes, bytes);
    if (std::memcmp(segment.data, content_.data() + position, part) != 0) return false;
    position += part;
    bytes -= part;
  }
  return true;
}

std::vector<int64_t> RunAll(IoEngine* engine, const std::vector<IoRead>& reads) {
  std::vector<int64_t> results(reads.size(), INT64_MIN);
  size_t started = 0;
  size_t finished = 0;
  std::vector<IoCompletion> completions;
  while (finished < reads.size()) {
    const size_t room = engine->queue_depth() - engine->in_flight();
    const size_t count = std::min(room, reads.size() - started);
    REQUIRE_OK(engine->Submit(absl::MakeConstSpan(reads).subspan(started, count)));
    started += count;
    completions.clear();
    REQUIRE_OK(engine->Reap(1, std::chrono::seconds(20), &completions));
    REQUIRE_FALSE(completions.empty());
    for (const IoCompletion& completion : completions) {
      REQUIRE(completion.tag < reads.size());
      REQUIRE(results[completion.tag] == INT64_MIN);
      results[completion.tag] = completion.result;
    }
    finished += completions.size();
  }
  REQUIRE(engine->in_flight() == 0);
  return results;
}

std::string ReadStart(IoEngine* engine, const std::string& content, AlignedBuffer* memory) {
  const IoSegment segment{memory->data(), 8192};
  const IoRead read{0, absl::MakeConstSpan(&segment, 1), 7};
  std::vector<IoCompletion> completions;
  absl::Status status = engine->Submit({&read, 1});
  if (status.ok()) status = engine->Reap(1, std::chrono::seconds(20), &completions);
  if (!status.ok()) return status.ToString();
  if (completions.size() != 1 || completions[0].result != 8192) return "bad completion";
  return std::memcmp(memory->data(), content.data(), 8192) == 0 ? "ok" : "other bytes";
}

}  // namespace sluice::testing
