#include "sluice/text_codec.h"

#include <utility>

#include "lib/base/status_macros.h"
#include "lib/model/flash_model_impl.h"

namespace sluice {
namespace {

class FileTextCodec : public TextCodec {
 public:
  explicit FileTextCodec(std::unique_ptr<Tokenizer> tokenizer)
      : tokenizer_(std::move(tokenizer)) {}

  std::vector<int32_t> Tokenize(const std::string& text, bool add_special) const override {
    return tokenizer_->Encode(text, add_special);
  }
  absl::StatusOr<std::string> Detokenize(absl::Span<const int32_t> tokens) const override {
    return tokenizer_->Decode(tokens);
  }

 private:
  const std::unique_ptr<Tokenizer> tokenizer_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TextCodec>> TextCodec::Open(const std::string& path) {
  SLUICE_ASSIGN_OR_RETURN(const std::shared_ptr<BundleFile> file, BundleFile::Open(path));
  SLUICE_ASSIGN_OR_RETURN(std::unique_ptr<Tokenizer> tokenizer, ReadTokenizerOf(*file));
  if (tokenizer == nullptr) return NoTokenizer(*file);
  return std::make_unique<FileTextCodec>(std::move(tokenizer));
}

}  // namespace sluice
