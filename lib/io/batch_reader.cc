#include "lib/io/batch_reader.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <limits>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/checked.h"
#include "lib/base/clock.h"
#include "lib/base/status_macros.h"
#include "lib/io/posix_file.h"

namespace sluice {
namespace {

// Transient errors come in bursts at most; more than this and the read will not succeed.
constexpr int kMaxTransientRetries = 8;
// A bad block stays bad, and a device that is gone must not cause a storm of retries.
constexpr int kMaxDeviceRetries = 2;
// The first round without progress may be chance, the second is the end of the file.
constexpr int kMaxStalledRounds = 2;
// Cancelling waits for what has been started: this much takes a slow device a few milliseconds,
// and is more than a fast one needs to be kept busy.
constexpr uint64_t kMaxBytesInFlight = uint64_t{8} << 20;
// Wait() comes back for so many at the latest.
constexpr size_t kMostAwaited = 16;
// Wait() looks up this often; it goes on waiting all the same.
constexpr std::chrono::milliseconds kWaitSlice(1000);

bool IsTransient(int error) {
  return error == EINTR || error == EAGAIN || error == ENOMEM || error == ECANCELED ||
         error == EBUSY;
}

bool IsDeviceError(int error) {
  return error == EIO || error == ETIMEDOUT || error == EREMOTEIO || error == ENODATA;
}

// One read on its way, in a pool of its own so that steady reading allocates nothing.
struct Request {
  uint64_t offset = 0;
  uint64_t tag = 0;
  uint64_t total = 0;
  uint64_t done = 0;  // a multiple of the alignment
  int transient_retries = 0;
  int device_retries = 0;
  int stalled_rounds = 0;
  absl::Span<const IoSegment> segments;  // the caller's
  std::vector<IoSegment> rest;           // of them, from `done` on; used after a short read
};

// What is still to be read.
absl::Span<const IoSegment> Rest(Request* request) {
  if (request->done == 0) return request->segments;
  request->rest.clear();
  uint64_t skip = request->done;
  for (const IoSegment& segment : request->segments) {
    if (skip >= segment.bytes) {
      skip -= segment.bytes;
      continue;
    }
    request->rest.push_back({segment.data + skip, segment.bytes - static_cast<size_t>(skip)});
    skip = 0;
  }
  return request->rest;
}

}  // namespace

struct BatchReader::State {
  std::unique_ptr<IoEngine> engine;
  std::string path;
  std::vector<Request> requests;
  std::vector<size_t> free;
  std::vector<size_t> queue;  // not started, in order, from queue_head on
  size_t queue_head = 0;
  std::vector<size_t> again;  // to be started again, before those
  uint64_t bytes_in_flight = 0;
  std::vector<IoRead> batch;
  std::vector<IoCompletion> completions;
  int64_t busy_ns = 0;
  int64_t busy_since_ns = 0;  // meaningful while reads are in flight

  size_t outstanding() const { return requests.size() - free.size(); }
  absl::Status CheckRead(const IoRead& read) const;
  void Enqueue(const IoRead& read);
  absl::Status Pump();
  absl::Status Reap(size_t min_complete, std::chrono::milliseconds timeout);
  void Handle(const IoCompletion& completion, std::vector<FinishedRead>* finished);
  void HandleError(size_t index, int error, std::vector<FinishedRead>* finished);
  void HandleProgress(size_t index, uint64_t got, std::vector<FinishedRead>* finished);
  void Finish(size_t index, absl::Status status, std::vector<FinishedRead>* finished);
  absl::Status HandleAll(std::vector<FinishedRead>* finished);
};

absl::Status BatchReader::State::CheckRead(const IoRead& read) const {
  Checked total(0);
  for (const IoSegment& segment : read.segments) total = total + segment.bytes;
  const bool segments_ok =
      !read.segments.empty() && read.segments.size() <= IoEngine::kMaxSegments;
  const bool range_ok = (total + read.offset)
                            .valid_and_at_most(std::numeric_limits<int64_t>::max());
  if (segments_ok && range_ok && total.value() > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": not a read: ", read.segments.size(), " segments at offset ", read.offset));
}

void BatchReader::State::Enqueue(const IoRead& read) {
  if (free.empty()) {
    requests.emplace_back();
    // Room for all of them, so that giving one back (in Drain() too) cannot fail.
    free.reserve(requests.capacity());
    free.push_back(requests.size() - 1);
  }
  queue.reserve(queue.size() + 1);
  const size_t index = free.back();
  free.pop_back();
  Request& request = requests[index];
  request.offset = read.offset;
  request.tag = read.tag;
  request.total = 0;
  request.done = 0;
  request.transient_retries = request.device_retries = request.stalled_rounds = 0;
  request.segments = read.segments;
  for (const IoSegment& segment : request.segments) request.total += segment.bytes;
  queue.push_back(index);
}

// Starts as much as the engine takes and kMaxBytesInFlight allows, by one Submit().
absl::Status BatchReader::State::Pump() {
  const size_t in_flight = engine->in_flight();
  const size_t depth = engine->queue_depth();
  const size_t waiting = again.size() + queue.size() - queue_head;
  batch.clear();
  uint64_t bytes = 0;
  while (batch.size() < waiting && in_flight + batch.size() < depth) {
    const size_t i = batch.size();
    const size_t index =
        i < again.size() ? again[again.size() - 1 - i] : queue[queue_head + i - again.size()];
    Request& request = requests[index];
    const uint64_t more = request.total - request.done;
    const bool first = in_flight + i == 0;
    if (!first && bytes_in_flight + bytes + more > kMaxBytesInFlight) break;
    batch.push_back({request.offset + request.done, Rest(&request), index});
    bytes += more;
  }
  if (batch.empty()) return absl::OkStatus();
  const int64_t now = NowNs();
  if (absl::Status status = engine->Submit(batch); !status.ok()) return Annotate(status, path);
  if (in_flight == 0) busy_since_ns = now;
  bytes_in_flight += bytes;
  const size_t from_again = std::min(batch.size(), again.size());
  again.resize(again.size() - from_again);
  queue_head += batch.size() - from_again;
  if (queue_head == queue.size()) {
    queue.clear();
    queue_head = 0;
  }
  return absl::OkStatus();
}

absl::Status BatchReader::State::Reap(size_t min_complete, std::chrono::milliseconds timeout) {
  const bool was_busy = engine->in_flight() > 0;
  const absl::Status status = engine->Reap(min_complete, timeout, &completions);
  if (was_busy && engine->in_flight() == 0) busy_ns += NowNs() - busy_since_ns;
  return Annotate(status, path);
}

void BatchReader::State::Finish(size_t index, absl::Status status,
                                std::vector<FinishedRead>* finished) {
  finished->push_back({requests[index].tag, std::move(status)});
  free.push_back(index);
}

void BatchReader::State::HandleError(size_t index, int error,
                                     std::vector<FinishedRead>* finished) {
  Request& request = requests[index];
  const bool retry =
      (IsTransient(error) && request.transient_retries++ < kMaxTransientRetries) ||
      (IsDeviceError(error) && request.device_retries++ < kMaxDeviceRetries);
  if (retry) {
    again.push_back(index);
    return;
  }
  std::string what = absl::StrCat(path, ": read of ", request.total - request.done,
                                  " bytes at offset ", request.offset + request.done, " failed");
  if (IsTransient(error)) {
    absl::StrAppend(&what, " after ", kMaxTransientRetries, " retries");
  } else if (IsDeviceError(error)) {
    absl::StrAppend(&what, " after ", kMaxDeviceRetries, " retries");
  } else if (error == EINVAL) {
    absl::StrAppend(&what, ", direct I/O needs multiples of ", engine->capabilities().alignment,
                    " bytes");
  }
  Finish(index, ErrnoStatus(error, what), finished);
}

void BatchReader::State::HandleProgress(size_t index, uint64_t got,
                                        std::vector<FinishedRead>* finished) {
  Request& request = requests[index];
  const uint64_t reached = request.done + got;
  if (got > request.total - request.done) {
    Finish(index,
           absl::InternalError(absl::StrCat(path, ": the I/O engine claims ", got,
                                            " bytes of a read of ", request.total - request.done,
                                            " at offset ", request.offset + request.done)),
           finished);
    return;
  }
  if (reached == request.total) {
    Finish(index, absl::OkStatus(), finished);
    return;
  }
  // An unaligned rest could not be read directly: go back to the last boundary.
  const uint64_t alignment = engine->capabilities().alignment;
  const uint64_t boundary = (request.offset + reached) / alignment * alignment;
  if (boundary > request.offset + request.done) {
    request.done = boundary - request.offset;
    request.stalled_rounds = 0;
  } else if (++request.stalled_rounds >= kMaxStalledRounds) {
    Finish(index, TruncatedStatus(path, request.offset, request.total, reached), finished);
    return;
  }
  again.push_back(index);
}

void BatchReader::State::Handle(const IoCompletion& completion,
                                std::vector<FinishedRead>* finished) {
  const size_t index = static_cast<size_t>(completion.tag);
  bytes_in_flight -= requests[index].total - requests[index].done;
  if (completion.result < 0) {
    HandleError(index, static_cast<int>(-completion.result), finished);
  } else {
    HandleProgress(index, static_cast<uint64_t>(completion.result), finished);
  }
}

absl::Status BatchReader::State::HandleAll(std::vector<FinishedRead>* finished) {
  for (const IoCompletion& completion : completions) {
    if (completion.tag >= requests.size()) {
      completions.clear();
      return absl::InternalError(absl::StrCat(path, ": the I/O engine finished a read that was ",
                                              "never started (tag ", completion.tag, ")"));
    }
    Handle(completion, finished);
  }
  completions.clear();
  return absl::OkStatus();
}

BatchReader::BatchReader(std::unique_ptr<IoEngine> engine, std::string path)
    : state_(std::make_unique<State>()) {
  state_->engine = std::move(engine);
  state_->path = std::move(path);
}

BatchReader::~BatchReader() { Drain(); }

const IoCapabilities& BatchReader::capabilities() const { return state_->engine->capabilities(); }

absl::Status BatchReader::Start(absl::Span<const IoRead> reads) {
  for (const IoRead& read : reads) SLUICE_RETURN_IF_ERROR(state_->CheckRead(read));
  for (const IoRead& read : reads) state_->Enqueue(read);
  return state_->Pump();
}

absl::Status BatchReader::Wait(std::vector<FinishedRead>* finished) {
  const size_t before = finished->size();
  while (state_->outstanding() > 0) {
    SLUICE_RETURN_IF_ERROR(state_->Pump());
    if (finished->size() > before) break;
    if (state_->engine->in_flight() == 0) {
      return absl::InternalError(absl::StrCat(state_->path, ": the I/O engine starts no reads"));
    }
    // A system call for each completion would cost more than what a few come later.
    const size_t some = std::clamp<size_t>(state_->engine->in_flight() / 4, 1, kMostAwaited);
    const absl::Status status = state_->Reap(some, kWaitSlice);
    SLUICE_RETURN_IF_ERROR(state_->HandleAll(finished));
    SLUICE_RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

absl::Status BatchReader::Poll(std::vector<FinishedRead>* finished) {
  if (state_->outstanding() == 0) return absl::OkStatus();
  const absl::Status status = state_->Reap(0, std::chrono::milliseconds(0));
  SLUICE_RETURN_IF_ERROR(state_->HandleAll(finished));
  SLUICE_RETURN_IF_ERROR(status);
  return state_->Pump();
}

size_t BatchReader::outstanding() const { return state_->outstanding(); }

void BatchReader::Drain() {
  state_->queue.clear();
  state_->queue_head = 0;
  state_->again.clear();
  state_->engine->CancelWaiting();
  while (state_->engine->in_flight() > 0) {
    const absl::Status status = state_->Reap(state_->engine->in_flight(), kWaitSlice);
    if (status.code() == absl::StatusCode::kFailedPrecondition) break;  // a forked child's copy
    // The memory must not go while the kernel may write to it, so there is no giving up.
    if (!status.ok()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  state_->completions.clear();
  state_->bytes_in_flight = 0;
  state_->free.clear();
  for (size_t i = 0; i < state_->requests.size(); ++i) state_->free.push_back(i);
}

int64_t BatchReader::busy_ns() const {
  const bool busy = state_->engine->in_flight() > 0;
  return state_->busy_ns + (busy ? NowNs() - state_->busy_since_ns : 0);
}

}  // namespace sluice
