// A session's tokens and KV cache as a file; docs/FORMAT.md has the same layout in words.
#ifndef SLUICE_LIB_MODEL_SESSION_FILE_H_
#define SLUICE_LIB_MODEL_SESSION_FILE_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "lib/io/file.h"
#include "lib/model/kv_cache.h"

namespace sluice {

// Offsets in the header, in bytes. Magic, version and checksum keep their places in every version,
// so that an old reader can tell "newer" from "damaged".
namespace session_header {
inline constexpr size_t kBytes = 128;
inline constexpr size_t kMagic = 0;
inline constexpr size_t kVersion = 8;
inline constexpr size_t kHeaderBytes = 12;
inline constexpr size_t kFileBytes = 16;
inline constexpr size_t kModelUuid = 24;
inline constexpr size_t kPredictors = 32;
inline constexpr size_t kNumLayers = 40;
inline constexpr size_t kNumHeads = 44;
inline constexpr size_t kHeadDim = 48;
inline constexpr size_t kVocabSize = 52;
inline constexpr size_t kKvType = 56;
inline constexpr size_t kResidentType = 60;
inline constexpr size_t kMode = 64;
inline constexpr size_t kByteOrder = 68;
inline constexpr size_t kPosition = 72;
inline constexpr size_t kPendingToken = 76;
inline constexpr size_t kTarget = 80;
inline constexpr size_t kTargetBytes = 16;
inline constexpr size_t kReserved = kTarget + kTargetBytes;
inline constexpr size_t kChecksum = kBytes - 8;  // of all bytes before it
}  // namespace session_header

inline constexpr uint32_t kSessionFileVersion = 1;
inline constexpr std::array<unsigned char, 8> kSessionMagic = {0x89, 'S', 'L', 'U',
                                                               'S',  'E', 'S', '\n'};

// What keys and values depend on, besides the tokens. The numbers are stored in files.
struct SessionIdentity {
  uint64_t model_uuid = 0;
  uint64_t predictors = 0;  // hash of those that choose neurons; 0 in dense mode
  uint32_t num_layers = 0;
  uint32_t num_heads = 0;
  uint32_t head_dim = 0;
  uint32_t vocab_size = 0;
  uint32_t kv_type = 0;        // an ElementType
  uint32_t resident_type = 0;  // a ResidentType
  uint32_t mode = 0;           // a Mode: 1 sparse, 2 dense
};

struct SessionContent {
  std::vector<int32_t> tokens;  // of positions [0, tokens.size())
  int32_t pending_token = -1;   // chosen, but not in the KV cache yet; -1: none
  std::string target;           // of the kernels that computed the KV cache
};

// Puts `content` and the rows of its tokens into a file that appears complete or not at all.
// Buffers 1 MiB. A full disk is kUnavailable here; kCancelled when `cancelled` becomes true.
absl::Status WriteSessionFile(const std::string& path, const SessionIdentity& identity,
                              const SessionContent& content, const KvCache& kv,
                              const std::atomic<bool>& cancelled);

// A session file that has been verified, every byte of it.
class SessionFile {
 public:
  // Codes as Session::Load().
  //   expected        of the session that is to be loaded into
  //   context_tokens  the most tokens that it can hold
  static absl::StatusOr<std::unique_ptr<SessionFile>> Open(const std::string& path,
                                                           const SessionIdentity& expected,
                                                           uint32_t context_tokens,
                                                           const std::atomic<bool>& cancelled);

  const SessionContent& content() const { return content_; }
  // Reads all rows into `kv`, of the shape and type of `expected`. kDataLoss: the file is no
  // longer the one that was verified; `kv` then holds neither the old rows nor the new ones.
  absl::Status ReadRows(KvCache* kv) const;

 private:
  explicit SessionFile(std::unique_ptr<InputFile> file) : file_(std::move(file)) {}
  absl::Status ReadHeader(const SessionIdentity& expected, uint32_t context_tokens);
  absl::Status VerifyBody(const std::atomic<bool>& cancelled);
  absl::Status ReadTokens(uint32_t vocab_size);

  const std::unique_ptr<InputFile> file_;
  std::array<std::byte, session_header::kBytes> header_ = {};
  uint64_t checksum_ = 0;  // at the end of the file, of all before it
  SessionContent content_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_SESSION_FILE_H_
