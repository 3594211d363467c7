// From the public ModelSource to an open bundle file.
#ifndef SLUICE_LIB_MODEL_OPEN_SOURCE_H_
#define SLUICE_LIB_MODEL_OPEN_SOURCE_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "lib/format/bundle_file.h"
#include "sluice/source.h"

namespace sluice {

// What messages call the source.
std::string NameOf(const ModelSource& source);

// kInvalidArgument: a source that makes no sense; and the errors of BundleFile::Open().
//   release  of a kReader: called once, when the file and all engines on it are gone, or before
//            this returns an error; or empty
absl::StatusOr<std::shared_ptr<BundleFile>> OpenSource(const ModelSource& source,
                                                       const std::function<void()>& release);

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_OPEN_SOURCE_H_
