#include "lib/format/checksum.h"

#include <xxhash.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "lib/format/bytes.h"

namespace sluice {

uint64_t Xxh3(absl::Span<const std::byte> data, uint64_t seed) {
  return XXH3_64bits_withSeed(data.data(), data.size(), seed);
}

uint64_t RecordSeed(uint64_t uuid, uint32_t layer, uint32_t record) {
  std::byte key[16];
  StoreU64(uuid, key);
  StoreU32(layer, key + 8);
  StoreU32(record, key + 12);
  return Xxh3(key);
}

absl::StatusOr<Xxh3Stream> Xxh3Stream::Create() {
  XXH3_state_t* state = XXH3_createState();
  if (state == nullptr) return absl::ResourceExhaustedError("cannot allocate a hash state");
  Xxh3Stream stream(state);
  stream.Reset(0);
  return stream;
}

void Xxh3Stream::Free::operator()(XXH3_state_s* state) const { XXH3_freeState(state); }

void Xxh3Stream::Reset(uint64_t seed) { XXH3_64bits_reset_withSeed(state_.get(), seed); }

void Xxh3Stream::Update(absl::Span<const std::byte> data) {
  XXH3_64bits_update(state_.get(), data.data(), data.size());
}

uint64_t Xxh3Stream::Digest() const { return XXH3_64bits_digest(state_.get()); }

std::string HashToHex(uint64_t hash) { return absl::StrCat(absl::Hex(hash, absl::kZeroPad16)); }

absl::StatusOr<uint64_t> HashFromHex(absl::string_view hex) {
  const absl::Status bad =
      absl::InvalidArgumentError("a hash is written as 16 lower-case hex digits");
  if (hex.size() != 16) return bad;
  uint64_t hash = 0;
  for (char c : hex) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && (c < 'a' || c > 'f')) return bad;
    hash = hash << 4 | static_cast<uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  return hash;
}

}  // namespace sluice
