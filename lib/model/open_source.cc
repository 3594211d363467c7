#include "lib/model/open_source.h"

#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/status_macros.h"
#include "lib/io/host_reader.h"
#include "lib/io/storage_file.h"

namespace sluice {
namespace {

// From here on its destructor calls `release`.
absl::StatusOr<std::shared_ptr<HostReader>> MakeReader(const ModelSource& source,
                                                       const std::function<void()>& release) {
  try {
    HostReader::Settings settings;
    settings.read = source.read;
    settings.release = release;
    settings.bytes = source.bytes;
    settings.threads =
        source.read_threads != 0 ? source.read_threads : HostReader::kDefaultThreads;
    settings.name = NameOf(source);
    return std::make_shared<HostReader>(std::move(settings));
  } catch (const std::bad_alloc&) {
    if (release) release();  // the reader, which would, was never made
    return absl::ResourceExhaustedError("out of memory while opening");
  }
}

absl::StatusOr<std::shared_ptr<BundleFile>> OpenReader(const ModelSource& source,
                                                       const std::function<void()>& release) {
  SLUICE_ASSIGN_OR_RETURN(std::shared_ptr<HostReader> reader, MakeReader(source, release));
  const std::string name = NameOf(source);
  if (!source.read) return absl::InvalidArgumentError(absl::StrCat(name, ": no read function"));
  if (source.bytes == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": a read function needs the length of what it reads"));
  }
  if (source.read_threads > HostReader::kMaxThreads) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", source.read_threads,
                                                   " reading threads, at most ",
                                                   HostReader::kMaxThreads));
  }
  return BundleFile::Open(StorageFile::FromHost(std::move(reader), name));
}

}  // namespace

std::string NameOf(const ModelSource& source) {
  if (source.kind == ModelSource::Kind::kPath || !source.path.empty()) return source.path;
  if (source.kind == ModelSource::Kind::kReader) return "the host's reader";
  return absl::StrCat("descriptor ", source.fd);
}

absl::StatusOr<std::shared_ptr<BundleFile>> OpenSource(const ModelSource& source,
                                                       const std::function<void()>& release) {
  switch (source.kind) {
    case ModelSource::Kind::kPath:
      return BundleFile::Open(source.path);
    case ModelSource::Kind::kDescriptor: {
      SLUICE_ASSIGN_OR_RETURN(
          std::shared_ptr<StorageFile> storage,
          StorageFile::OpenSlice({source.fd, source.offset, source.bytes, NameOf(source)}));
      return BundleFile::Open(std::move(storage));
    }
    case ModelSource::Kind::kReader:
      return OpenReader(source, release);
  }
  return absl::InvalidArgumentError("a source of no known kind");
}

}  // namespace sluice
