// libzip reading through our own checked file, so that no second descriptor and no shared file
// position come into being.
#ifndef SLUICE_LIB_CONVERT_ZIP_SOURCE_H_
#define SLUICE_LIB_CONVERT_ZIP_SOURCE_H_

#include <memory>

#include <zip.h>

#include "absl/status/statusor.h"
#include "lib/io/file.h"

namespace sluice {

struct ZipDiscard {
  void operator()(zip_t* archive) const { zip_discard(archive); }
};
struct ZipFileClose {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};
using ZipArchive = std::unique_ptr<zip_t, ZipDiscard>;
using ZipFile = std::unique_ptr<zip_file_t, ZipFileClose>;

// Reads the archive's directory. `file` must outlive the archive. kDataLoss with libzip's words:
// no directory at the end (a truncated file has none), or a wrong one.
absl::StatusOr<ZipArchive> OpenZip(const InputFile& file);

}  // namespace sluice

#endif  // SLUICE_LIB_CONVERT_ZIP_SOURCE_H_
