// Opens arbitrary bytes as a session file. With 'R' as the first byte the rest is one whose size
// and checksums are made to fit, so that mutations reach what lies behind them.
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "absl/status/status.h"
#include "lib/format/bytes.h"
#include "lib/format/checksum.h"
#include "lib/model/kv_cache.h"
#include "lib/model/session_file.h"
#include "tests/fuzz/temp_input.h"

namespace {

namespace at = sluice::session_header;

constexpr uint32_t kContextTokens = 8;

// Of the corpus's sessions.
sluice::SessionIdentity Identity() {
  sluice::SessionIdentity identity;
  identity.model_uuid = 0x1122334455667788;
  identity.num_layers = 2;
  identity.num_heads = 2;
  identity.head_dim = 4;
  identity.vocab_size = 97;
  identity.mode = 2;
  return identity;
}

std::string RepairedFile(std::string file) {
  if (file.size() < at::kBytes + 8) return file;
  auto* const bytes = reinterpret_cast<std::byte*>(file.data());
  sluice::StoreU64(file.size(), bytes + at::kFileBytes);
  sluice::StoreU64(sluice::Xxh3(sluice::AsBytes(file).first(at::kChecksum)),
                   bytes + at::kChecksum);
  sluice::StoreU64(sluice::Xxh3(sluice::AsBytes(file).first(file.size() - 8)),
                   bytes + file.size() - 8);
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static sluice::KvCache kv =
      *sluice::KvCache::Create(2, kContextTokens, 2, 4, sluice::ElementType::kF32);
  static const std::atomic<bool> cancelled{false};
  std::string content(reinterpret_cast<const char*>(data), size);
  if (!content.empty() && content[0] == 'R') content = RepairedFile(content.substr(1));
  const sluice::fuzz::TempInput input(reinterpret_cast<const uint8_t*>(content.data()),
                                      content.size());
  const auto file =
      sluice::SessionFile::Open(input.path(), Identity(), kContextTokens, cancelled);
  if (!file.ok()) return 0;
  // What was accepted can be used as it is.
  const sluice::SessionContent& session = (*file)->content();
  if (session.tokens.size() > kContextTokens) std::abort();
  for (int32_t token : session.tokens) {
    if (token < 0 || token >= 97) std::abort();
  }
  if (session.pending_token < -1 || session.pending_token >= 97) std::abort();
  if (!(*file)->ReadRows(&kv).ok()) std::abort();
  return 0;
}
