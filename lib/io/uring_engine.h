// Reads by io_uring, through liburing. Built only with SLUICE_WITH_URING.
//
// No IORING_SETUP_SINGLE_ISSUER (submitters may change), no IORING_SETUP_COOP_TASKRUN (a read
// must complete though its submitter never enters the kernel again), no IOSQE_ASYNC (such a read
// is cancelled when its submitter's thread exits).
#ifndef SLUICE_LIB_IO_URING_ENGINE_H_
#define SLUICE_LIB_IO_URING_ENGINE_H_

#include <liburing.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "lib/io/engines.h"

namespace sluice {

class UringEngine : public IoEngine {
 public:
  UringEngine(std::shared_ptr<StorageFile> file, size_t queue_depth);
  ~UringEngine() override;

  // To be called once, before all else: sets up the ring, sends a no-op through it, registers
  // the files and, where that is allowed, the buffers. kUnimplemented: io_uring does not work
  // here, and the message says why.
  absl::Status Init(absl::Span<const IoSegment> buffers);

  const IoCapabilities& capabilities() const override { return capabilities_; }
  size_t queue_depth() const override { return queue_depth_; }
  size_t in_flight() const override { return in_flight_; }
  absl::Status Submit(absl::Span<const IoRead> reads) override;
  absl::Status Reap(size_t min_complete, std::chrono::milliseconds timeout,
                    std::vector<IoCompletion>* out) override;

 private:
  // A piece of registered memory; its place in slabs_ is its index in the kernel.
  struct Slab {
    uintptr_t begin;
    uintptr_t end;
  };
  // A prepared entry that the kernel has not taken yet.
  struct Prepared {
    io_uring_sqe* sqe;
    uint64_t slot;
  };

  absl::Status SetUpRing();
  absl::Status SendNoOp();
  void RegisterBuffers(absl::Span<const IoSegment> buffers);
  void PrepareRead(const IoRead& read);
  absl::Status Flush();
  absl::Status Withdraw(const absl::Status& why, size_t batch_size);
  size_t Collect(std::vector<IoCompletion>* out);
  size_t FindSlab(const IoSegment& segment) const;

  const std::shared_ptr<StorageFile> file_;
  const size_t queue_depth_;
  const int owner_pid_;
  bool ring_ready_ = false;
  io_uring ring_;
  std::vector<Slab> slabs_;  // by address
  IoCapabilities capabilities_;

  size_t in_flight_ = 0;
  std::vector<uint64_t> slot_tags_;  // by slot, which is an entry's user_data
  std::vector<uint64_t> free_slots_;
  std::vector<Prepared> prepared_;
  // Finished before Reap() asked: reads withdrawn after a part of their batch had started, and
  // what had to be collected to make room.
  std::vector<IoCompletion> early_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_IO_URING_ENGINE_H_
