#include "lib/convert/zip_source.h"

#include <algorithm>
#include <cerrno>
#include <new>

#include "absl/strings/str_cat.h"

namespace sluice {
namespace {

// What libzip holds of one open archive; freed by the ZIP_SOURCE_FREE command.
struct FileSource {
  const InputFile* file;
  uint64_t position;
  zip_error_t error;
};

zip_int64_t ReadSource(FileSource* source, void* data, zip_uint64_t length) {
  const uint64_t left = source->file->size() - source->position;
  const uint64_t bytes = std::min<uint64_t>(length, left);
  const absl::Status status = source->file->ReadAt(
      source->position, absl::MakeSpan(static_cast<std::byte*>(data), bytes));
  if (!status.ok()) {
    zip_error_set(&source->error, ZIP_ER_READ, EIO);
    return -1;
  }
  source->position += bytes;
  return static_cast<zip_int64_t>(bytes);
}

zip_int64_t SeekSource(FileSource* source, void* data, zip_uint64_t length) {
  const zip_int64_t to = zip_source_seek_compute_offset(
      source->position, source->file->size(), data, length, &source->error);
  if (to < 0) return -1;
  source->position = static_cast<uint64_t>(to);
  return 0;
}

zip_int64_t StatSource(const FileSource* source, void* data, zip_uint64_t length) {
  if (length < sizeof(zip_stat_t)) return -1;
  auto* stat = static_cast<zip_stat_t*>(data);
  zip_stat_init(stat);
  stat->valid = ZIP_STAT_SIZE;
  stat->size = source->file->size();
  return sizeof(zip_stat_t);
}

zip_int64_t RunCommand(FileSource* source, void* data, zip_uint64_t length,
                       zip_source_cmd_t command) {
  switch (command) {
    case ZIP_SOURCE_OPEN:
      source->position = 0;
      return 0;
    case ZIP_SOURCE_READ:
      return ReadSource(source, data, length);
    case ZIP_SOURCE_SEEK:
      return SeekSource(source, data, length);
    case ZIP_SOURCE_TELL:
      return static_cast<zip_int64_t>(source->position);
    case ZIP_SOURCE_STAT:
      return StatSource(source, data, length);
    case ZIP_SOURCE_ERROR:
      return zip_error_to_data(&source->error, data, length);
    case ZIP_SOURCE_CLOSE:
      return 0;
    case ZIP_SOURCE_FREE:
      zip_error_fini(&source->error);
      delete source;
      return 0;
    case ZIP_SOURCE_SUPPORTS:
      return ZIP_SOURCE_SUPPORTS_SEEKABLE;
    default:
      zip_error_set(&source->error, ZIP_ER_OPNOTSUPP, 0);
      return -1;
  }
}

// libzip is C: nothing may be thrown through it, not even for want of memory for a message.
zip_int64_t SourceCommand(void* user, void* data, zip_uint64_t length, zip_source_cmd_t command) {
  auto* source = static_cast<FileSource*>(user);
  try {
    return RunCommand(source, data, length, command);
  } catch (const std::bad_alloc&) {
    zip_error_set(&source->error, ZIP_ER_MEMORY, 0);
    return -1;
  }
}

}  // namespace

absl::StatusOr<ZipArchive> OpenZip(const InputFile& file) {
  auto* state = new (std::nothrow) FileSource{&file, 0, {}};
  if (state == nullptr) return absl::ResourceExhaustedError("no memory for a zip archive");
  zip_error_init(&state->error);
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_function_create(SourceCommand, state, &error);
  if (source == nullptr) {
    delete state;
  } else if (ZipArchive archive(zip_open_from_source(source, ZIP_RDONLY, &error)); archive) {
    zip_error_fini(&error);
    return archive;
  } else {
    zip_source_free(source);
  }
  absl::Status status = absl::DataLossError(
      absl::StrCat("no readable zip directory in ", file.size(),
                   " bytes (truncated download?): ", zip_error_strerror(&error)));
  zip_error_fini(&error);
  return status;
}

}  // namespace sluice
