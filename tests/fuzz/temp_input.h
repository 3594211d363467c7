// A fuzz input as a file.
#ifndef SLUICE_TESTS_FUZZ_TEMP_INPUT_H_
#define SLUICE_TESTS_FUZZ_TEMP_INPUT_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <unistd.h>

namespace sluice::fuzz {

// In memory where the system has /dev/shm: a million inputs should wear out no disk.
class TempInput {
 public:
  TempInput(const uint8_t* data, size_t size)
      : path_(access("/dev/shm", W_OK) == 0 ? "/dev/shm/sluice-fuzz-XXXXXX"
                                            : "/tmp/sluice-fuzz-XXXXXX") {
    const int fd = mkstemp(path_.data());
    std::FILE* file = fd < 0 ? nullptr : fdopen(fd, "wb");
    if (file == nullptr || std::fwrite(data, 1, size, file) != size || std::fclose(file) != 0) {
      std::perror(path_.c_str());
      std::exit(1);
    }
  }
  ~TempInput() { std::remove(path_.c_str()); }
  TempInput(const TempInput&) = delete;
  TempInput& operator=(const TempInput&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace sluice::fuzz

#endif  // SLUICE_TESTS_FUZZ_TEMP_INPUT_H_
