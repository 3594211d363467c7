// The hashes of the bundle file: XXH3, 64 bits.
#ifndef SLUICE_LIB_FORMAT_CHECKSUM_H_
#define SLUICE_LIB_FORMAT_CHECKSUM_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

struct XXH3_state_s;

namespace sluice {

uint64_t Xxh3(absl::Span<const std::byte> data, uint64_t seed = 0);

// The seed of a record's checksum: the hash of (uuid u64, layer u32, record u32), little-endian.
// Two records with the same bytes thus have different checksums, and a record that storage
// delivers from the wrong place is noticed.
uint64_t RecordSeed(uint64_t uuid, uint32_t layer, uint32_t record);

// The same hash over pieces.
class Xxh3Stream {
 public:
  static absl::StatusOr<Xxh3Stream> Create();
  void Reset(uint64_t seed);
  void Update(absl::Span<const std::byte> data);
  uint64_t Digest() const;

 private:
  struct Free {
    void operator()(XXH3_state_s* state) const;
  };
  explicit Xxh3Stream(XXH3_state_s* state) : state_(state) {}
  std::unique_ptr<XXH3_state_s, Free> state_;
};

// 16 lower-case hex digits: JSON numbers lose bits above 2^53 in most readers.
std::string HashToHex(uint64_t hash);
// kInvalidArgument unless exactly 16 lower-case hex digits.
absl::StatusOr<uint64_t> HashFromHex(absl::string_view hex);

}  // namespace sluice

#endif  // SLUICE_LIB_FORMAT_CHECKSUM_H_
