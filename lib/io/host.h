// What this machine, and the limits put on this process, allow.
#ifndef SLUICE_LIB_IO_HOST_H_
#define SLUICE_LIB_IO_HOST_H_

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

}  // namespace sluice

#endif  // SLUICE_LIB_IO_HOST_H_
