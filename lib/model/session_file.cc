#include "lib/model/session_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "lib/base/aligned_buffer.h"
#include "lib/base/checked.h"
#include "lib/base/status_macros.h"
#include "lib/format/bytes.h"
#include "lib/format/checksum.h"
#include "lib/format/sequential_output.h"

namespace sluice {
namespace {

namespace at = session_header;

constexpr size_t kPieceBytes = size_t{1} << 20;
constexpr size_t kTokenBytes = sizeof(int32_t);
constexpr size_t kChecksumBytes = sizeof(uint64_t);
constexpr uint32_t kNoToken = std::numeric_limits<uint32_t>::max();

// Rows lie in the file as they lie in memory.
constexpr uint32_t kByteOrder = std::endian::native == std::endian::little ? 1 : 2;

absl::Status Damaged(const std::string& path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(path, ": session file: ", what));
}

absl::Status OtherThan(const std::string& path, absl::string_view what, absl::string_view saved,
                       absl::string_view here) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": saved with another ", what, ": ", saved,
                                                 ", here it is ", here));
}

absl::Status CheckCancelled(const std::atomic<bool>& cancelled) {
  if (!cancelled.load(std::memory_order_relaxed)) return absl::OkStatus();
  return absl::CancelledError("cancelled");
}

// The size of a file of this shape.
Checked FileBytes(const SessionIdentity& identity, uint32_t position) {
  const uint64_t element = ElementBytes(static_cast<ElementType>(identity.kv_type));
  const Checked row = Checked(identity.num_layers) * 2 * identity.num_heads * identity.head_dim *
                      element;
  return Checked(at::kBytes) + Checked(position) * kTokenBytes + row * position + kChecksumBytes;
}

std::array<std::byte, at::kBytes> EncodeHeader(const SessionIdentity& identity,
                                               const SessionContent& content,
                                               uint64_t file_bytes) {
  std::array<std::byte, at::kBytes> header = {};
  std::byte* const to = header.data();
  std::memcpy(to + at::kMagic, kSessionMagic.data(), kSessionMagic.size());
  StoreU32(kSessionFileVersion, to + at::kVersion);
  StoreU32(at::kBytes, to + at::kHeaderBytes);
  StoreU64(file_bytes, to + at::kFileBytes);
  StoreU64(identity.model_uuid, to + at::kModelUuid);
  StoreU64(identity.predictors, to + at::kPredictors);
  StoreU32(identity.num_layers, to + at::kNumLayers);
  StoreU32(identity.num_heads, to + at::kNumHeads);
  StoreU32(identity.head_dim, to + at::kHeadDim);
  StoreU32(identity.vocab_size, to + at::kVocabSize);
  StoreU32(identity.kv_type, to + at::kKvType);
  StoreU32(identity.resident_type, to + at::kResidentType);
  StoreU32(identity.mode, to + at::kMode);
  StoreU32(kByteOrder, to + at::kByteOrder);
  StoreU32(static_cast<uint32_t>(content.tokens.size()), to + at::kPosition);
  StoreU32(content.pending_token < 0 ? kNoToken : static_cast<uint32_t>(content.pending_token),
           to + at::kPendingToken);
  // The last byte stays NUL.
  std::memcpy(to + at::kTarget, content.target.data(),
              std::min(content.target.size(), at::kTargetBytes - 1));
  StoreU64(Xxh3(absl::MakeConstSpan(header).first(at::kChecksum)), to + at::kChecksum);
  return header;
}

// What comes after the header's own checksum, in an order that gives the most useful message.
absl::Status CheckIdentity(const std::byte* header, const SessionIdentity& expected,
                           const std::string& path) {
  const uint64_t uuid = LoadU64(header + at::kModelUuid);
  if (uuid != expected.model_uuid) {
    return OtherThan(path, "model file (uuid)", HashToHex(uuid), HashToHex(expected.model_uuid));
  }
  struct Field {
    const char* name;
    size_t offset;
    uint32_t expected;
  };
  const Field fields[] = {{"mode (1 sparse, 2 dense)", at::kMode, expected.mode},
                          {"kv_type (0 f32, 1 f16)", at::kKvType, expected.kv_type},
                          {"resident_type (0 auto, 1 q8)", at::kResidentType,
                           expected.resident_type},
                          {"number of layers", at::kNumLayers, expected.num_layers},
                          {"number of heads", at::kNumHeads, expected.num_heads},
                          {"size of a head", at::kHeadDim, expected.head_dim},
                          {"vocabulary size", at::kVocabSize, expected.vocab_size},
                          {"byte order (1 little, 2 big)", at::kByteOrder, kByteOrder}};
  for (const Field& field : fields) {
    const uint32_t saved = LoadU32(header + field.offset);
    if (saved == field.expected) continue;
    return OtherThan(path, field.name, absl::StrCat(saved), absl::StrCat(field.expected));
  }
  const uint64_t predictors = LoadU64(header + at::kPredictors);
  if (predictors == expected.predictors) return absl::OkStatus();
  return OtherThan(path, "set of predictors (hash)", HashToHex(predictors),
                   HashToHex(expected.predictors));
}

absl::Status WriteAll(AtomicFile* file, absl::Span<const std::byte> header,
                      absl::Span<const std::byte> tokens, const SessionContent& content,
                      const KvCache& kv, const std::atomic<bool>& cancelled) {
  SLUICE_ASSIGN_OR_RETURN(const std::unique_ptr<SequentialOutput> out,
                          SequentialOutput::Create(file, 0));
  SLUICE_ASSIGN_OR_RETURN(Xxh3Stream hash, Xxh3Stream::Create());
  const auto append = [&](absl::Span<const std::byte> data) -> absl::Status {
    while (!data.empty()) {
      SLUICE_RETURN_IF_ERROR(CheckCancelled(cancelled));
      const auto piece = data.subspan(0, kPieceBytes);
      hash.Update(piece);
      SLUICE_RETURN_IF_ERROR(out->Append(piece));
      data.remove_prefix(piece.size());
    }
    return absl::OkStatus();
  };
  SLUICE_RETURN_IF_ERROR(append(header));
  SLUICE_RETURN_IF_ERROR(append(tokens));
  const auto positions = static_cast<uint32_t>(content.tokens.size());
  for (size_t i = 0; i < kv.num_runs(); ++i) {
    SLUICE_RETURN_IF_ERROR(append(kv.run(i, positions)));
  }
  std::byte checksum[kChecksumBytes];
  StoreU64(hash.Digest(), checksum);
  SLUICE_RETURN_IF_ERROR(out->Append(checksum));
  return out->Flush();
}

// To whoever saves, a disk without room is trouble with storage, not with memory.
absl::Status AsStorageTrouble(absl::Status status) {
  if (!absl::IsResourceExhausted(status)) return status;
  return absl::UnavailableError(status.message());
}

}  // namespace

absl::Status WriteSessionFile(const std::string& path, const SessionIdentity& identity,
                              const SessionContent& content, const KvCache& kv,
                              const std::atomic<bool>& cancelled) {
  const Checked bytes = FileBytes(identity, static_cast<uint32_t>(content.tokens.size()));
  if (!bytes.valid()) return absl::InternalError("a session of more than 2^64 bytes");
  const auto header = EncodeHeader(identity, content, bytes.value());
  std::vector<std::byte> tokens(content.tokens.size() * kTokenBytes);
  for (size_t i = 0; i < content.tokens.size(); ++i) {
    StoreU32(static_cast<uint32_t>(content.tokens[i]), tokens.data() + i * kTokenBytes);
  }
  auto file = AtomicFile::Create(path);
  if (!file.ok()) return AsStorageTrouble(file.status());
  absl::Status status = (*file)->Reserve(bytes.value());
  if (status.ok()) status = WriteAll(file->get(), header, tokens, content, kv, cancelled);
  if (status.ok()) status = (*file)->Commit();
  return AsStorageTrouble(status);
}

absl::StatusOr<std::unique_ptr<SessionFile>> SessionFile::Open(
    const std::string& path, const SessionIdentity& expected, uint32_t context_tokens,
    const std::atomic<bool>& cancelled) {
  SLUICE_ASSIGN_OR_RETURN(std::unique_ptr<InputFile> input, InputFile::Open(path));
  std::unique_ptr<SessionFile> file(new SessionFile(std::move(input)));
  SLUICE_RETURN_IF_ERROR(file->ReadHeader(expected, context_tokens));
  SLUICE_RETURN_IF_ERROR(file->VerifyBody(cancelled));
  SLUICE_RETURN_IF_ERROR(file->ReadTokens(expected.vocab_size));
  return file;
}

absl::Status SessionFile::ReadHeader(const SessionIdentity& expected, uint32_t context_tokens) {
  const std::string& path = file_->path();
  const std::byte* const header = header_.data();
  SLUICE_RETURN_IF_ERROR(file_->ReadAt(0, absl::MakeSpan(header_)));
  if (std::memcmp(header + at::kMagic, kSessionMagic.data(), kSessionMagic.size()) != 0) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": not a session file"));
  }
  if (LoadU64(header + at::kChecksum) != Xxh3(absl::MakeConstSpan(header_).first(at::kChecksum))) {
    return Damaged(path, absl::StrCat("the checksum of bytes 0 to ", at::kChecksum - 1,
                                      " is wrong"));
  }
  const uint32_t version = LoadU32(header + at::kVersion);
  const bool reserved = !AllZero(
      absl::MakeConstSpan(header_).subspan(at::kReserved, at::kChecksum - at::kReserved));
  if (version > kSessionFileVersion || reserved) {
    return absl::UnimplementedError(absl::StrCat(
        path, ": session file version ", version, reserved ? " with members" : "",
        " that this library, which reads version ", kSessionFileVersion, ", does not know"));
  }
  if (version != kSessionFileVersion || LoadU32(header + at::kHeaderBytes) != at::kBytes) {
    return Damaged(path, absl::StrCat("there is no version ", version, " with a header of ",
                                      LoadU32(header + at::kHeaderBytes), " bytes"));
  }
  const uint64_t bytes = LoadU64(header + at::kFileBytes);
  if (bytes != file_->size()) {
    return Damaged(path, absl::StrCat("it has ", file_->size(), " bytes, expected ", bytes));
  }
  SLUICE_RETURN_IF_ERROR(CheckIdentity(header, expected, path));
  const uint32_t position = LoadU32(header + at::kPosition);
  if (position > context_tokens) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": it holds ", position,
                                                   " tokens, the context here ", context_tokens));
  }
  const Checked needed = FileBytes(expected, position);
  if (!needed.valid() || needed.value() != bytes) {
    return Damaged(path, absl::StrCat(bytes, " bytes are not what ", position, " tokens take"));
  }
  return absl::OkStatus();
}

absl::Status SessionFile::VerifyBody(const std::atomic<bool>& cancelled) {
  SLUICE_ASSIGN_OR_RETURN(AlignedBuffer buffer, AlignedBuffer::Allocate(kPieceBytes));
  SLUICE_ASSIGN_OR_RETURN(Xxh3Stream hash, Xxh3Stream::Create());
  hash.Update(header_);
  const uint64_t end = file_->size() - kChecksumBytes;
  for (uint64_t offset = at::kBytes; offset < end;) {
    SLUICE_RETURN_IF_ERROR(CheckCancelled(cancelled));
    const auto piece = buffer.span().subspan(0, std::min<uint64_t>(end - offset, kPieceBytes));
    SLUICE_RETURN_IF_ERROR(file_->ReadAt(offset, piece));
    hash.Update(piece);
    offset += piece.size();
  }
  std::byte stored[kChecksumBytes];
  SLUICE_RETURN_IF_ERROR(file_->ReadAt(end, absl::MakeSpan(stored)));
  checksum_ = LoadU64(stored);
  if (checksum_ == hash.Digest()) return absl::OkStatus();
  return Damaged(file_->path(),
                 absl::StrCat("the checksum of bytes 0 to ", end - 1, " is ",
                              HashToHex(hash.Digest()), ", expected ", HashToHex(checksum_)));
}

absl::Status SessionFile::ReadTokens(uint32_t vocab_size) {
  const std::byte* const header = header_.data();
  const uint32_t position = LoadU32(header + at::kPosition);
  std::vector<std::byte> stored(size_t{position} * kTokenBytes);
  SLUICE_RETURN_IF_ERROR(file_->ReadAt(at::kBytes, absl::MakeSpan(stored)));
  const auto check = [&](uint32_t token) {
    if (token < vocab_size) return absl::OkStatus();
    return Damaged(file_->path(), absl::StrCat("token id ", token,
                                               " is not in the vocabulary of ", vocab_size));
  };
  content_.tokens.resize(position);
  for (size_t i = 0; i < content_.tokens.size(); ++i) {
    const uint32_t token = LoadU32(stored.data() + i * kTokenBytes);
    SLUICE_RETURN_IF_ERROR(check(token));
    content_.tokens[i] = static_cast<int32_t>(token);
  }
  if (const uint32_t pending = LoadU32(header + at::kPendingToken); pending != kNoToken) {
    SLUICE_RETURN_IF_ERROR(check(pending));
    content_.pending_token = static_cast<int32_t>(pending);
  }
  const char* const target = reinterpret_cast<const char*>(header + at::kTarget);
  content_.target.assign(target, std::find(target, target + at::kTargetBytes, '\0'));
  return absl::OkStatus();
}

absl::Status SessionFile::ReadRows(KvCache* kv) const {
  SLUICE_ASSIGN_OR_RETURN(Xxh3Stream hash, Xxh3Stream::Create());
  hash.Update(header_);
  std::byte token[kTokenBytes];
  for (int32_t id : content_.tokens) {
    StoreU32(static_cast<uint32_t>(id), token);
    hash.Update(token);
  }
  uint64_t offset = at::kBytes + content_.tokens.size() * kTokenBytes;
  const auto positions = static_cast<uint32_t>(content_.tokens.size());
  for (size_t i = 0; i < kv->num_runs(); ++i) {
    const absl::Span<std::byte> run = kv->run(i, positions);
    SLUICE_RETURN_IF_ERROR(file_->ReadAt(offset, run));
    hash.Update(run);
    offset += run.size();
  }
  if (hash.Digest() == checksum_) return absl::OkStatus();
  return Damaged(file_->path(), "it was changed while it was read");
}

}  // namespace sluice
