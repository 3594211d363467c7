// What StorageFile asks of the system when it probes O_DIRECT. Tests put in their own, because
// no file system that a test could rely on refuses O_DIRECT or returns other bytes.
#ifndef SLUICE_LIB_IO_STORAGE_SYSCALLS_H_
#define SLUICE_LIB_IO_STORAGE_SYSCALLS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "absl/types/span.h"

namespace sluice {

struct StorageSyscalls {
  // The real ones.
  static StorageSyscalls System();

  // A descriptor opened for reading with O_DIRECT, or -errno.
  std::function<int(const std::string& path)> open_direct;
  // Bytes read, or -errno.
  std::function<int64_t(int fd, uint64_t offset, absl::Span<std::byte> out)> read_direct;
  // The device's alignment for O_DIRECT; 0: it does not say; -1: it says that it cannot.
  std::function<int64_t(int fd)> direct_alignment;
};

}  // namespace sluice

#endif  // SLUICE_LIB_IO_STORAGE_SYSCALLS_H_
