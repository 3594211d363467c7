// What this machine, and the limits put on this process, allow.
#ifndef SLUICE_LIB_IO_HOST_H_
#define SLUICE_LIB_IO_HOST_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace sluice {

// Where to look; tests point it at a folder of their own.
struct HostPaths {
  std::string proc = "/proc";
  std::string sys_fs_cgroup = "/sys/fs/cgroup";
};

// Bytes that this process may still take: the smaller of MemAvailable and the room in every
// memory cgroup above the process (v1 or v2), droppable page cache counted as room.
uint64_t AvailableMemoryBytes(const HostPaths& paths = {});

// The smaller of the affinity mask and every CPU quota above the process (v1 or v2), rounded
// down, at least 1.
int DefaultThreadCount(const HostPaths& paths = {});

// VmHWM of this process; 0 where the system does not tell.
uint64_t PeakRssBytes();

// Asks for large pages where whole ones lie in the range, which is not touched yet: they spare the
// translation of an address for every 4 KiB. A wish; no more memory is taken than is touched.
void PreferLargePages(void* data, size_t bytes);

}  // namespace sluice

#endif  // SLUICE_LIB_IO_HOST_H_
