#include "lib/io/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/io/posix_file.h"

namespace sluice {

InputFile::InputFile(std::string path, int fd, uint64_t size)
    : path_(std::move(path)), fd_(fd), size_(size) {}

InputFile::~InputFile() { close(fd_); }

absl::StatusOr<std::unique_ptr<InputFile>> InputFile::Open(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(OpenedFile opened, OpenRegularFile(path, 0));
  return std::unique_ptr<InputFile>(new InputFile(path, opened.fd.Release(), opened.size));
}

absl::Status InputFile::ReadAt(uint64_t offset, absl::Span<std::byte> out) const {
  return ReadExactly(fd_, path_, offset, out);
}

void InputFile::DropCache(uint64_t offset, uint64_t bytes) const {
  DropPages(fd_, offset, bytes);
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& path, uint64_t max_bytes) {
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<InputFile> file, InputFile::Open(path));
  if (file->size() > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", file->size(),
                                                   " bytes, more than the ", max_bytes,
                                                   " that such a file may have"));
  }
  std::string content;
  try {
    content.resize(static_cast<size_t>(file->size()));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        absl::StrCat(path, ": no memory for its ", file->size(), " bytes"));
  }
  SLUICE_RETURN_IF_ERROR(file->ReadAt(
      0, absl::MakeSpan(reinterpret_cast<std::byte*>(content.data()), content.size())));
  return content;
}

bool FileExists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

void RemoveFile(const std::string& path) { unlink(path.c_str()); }

bool IsDirectory(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

}  // namespace sluice
