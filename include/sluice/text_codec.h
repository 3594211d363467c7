// The tokenizer of a bundle file alone, without the model's weights.
#ifndef SLUICE_TEXT_CODEC_H_
#define SLUICE_TEXT_CODEC_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace sluice {

// Threads: const methods may overlap.
class TextCodec {
 public:
  // kFailedPrecondition: the file has no tokenizer.
  static absl::StatusOr<std::unique_ptr<TextCodec>> Open(const std::string& path);
  virtual ~TextCodec() = default;

  // As FlashModel::Tokenize() and Detokenize().
  virtual std::vector<int32_t> Tokenize(const std::string& text, bool add_special) const = 0;
  virtual absl::StatusOr<std::string> Detokenize(absl::Span<const int32_t> tokens) const = 0;
};

}  // namespace sluice

#endif  // SLUICE_TEXT_CODEC_H_
