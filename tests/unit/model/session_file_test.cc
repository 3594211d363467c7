// Saved sessions that are damaged, of something else, or cannot be written: each is refused with a
// reason, and nothing changes.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "lib/format/bytes.h"
#include "lib/format/checksum.h"
#include "lib/kernels/kernels.h"
#include "lib/model/flash_model_impl.h"
#include "lib/model/session_file.h"
#include "tests/support/catch.h"
#include "tests/support/tiny_model.h"

namespace sluice {
namespace {

using testing::AllLogits;
using testing::ReadFileOrDie;
using testing::TinyModelOptions;
using testing::WriteFileOrDie;

TinyModelOptions Small() {
  TinyModelOptions tiny;
  tiny.num_layers = 1;
  return tiny;
}

ModelOptions OptionsFor(Mode mode) {
  ModelOptions options;
  options.mode = mode;
  options.threads = 1;
  options.max_sessions = 2;
  return options;
}

struct Fixture {
  testing::TempDir dir;
  std::string path = dir.File("tiny.flash");
  std::string saved = dir.File("saved.session");
  std::shared_ptr<FlashModelImpl> model;
  std::unique_ptr<Session> session;
  std::vector<int32_t> tokens = {5, 6, 7};

  explicit Fixture(const TinyModelOptions& tiny = Small(),
                   const ModelOptions& options = OptionsFor(Mode::kSparse)) {
    testing::WriteTinyModel(path, tiny);
    auto opened = FlashModelImpl::Open(path, options, nullptr);
    REQUIRE_OK(opened);
    model = *opened;
    session = *model->CreateSession();
  }
  std::string Saved() {
    REQUIRE_OK(session->Prefill(tokens, {}));
    REQUIRE_OK(session->Save(saved));
    return ReadFileOrDie(saved);
  }
};

// Both checksums made to fit, so that what lies behind them is looked at.
std::string Repaired(std::string file) {
  auto* const bytes = reinterpret_cast<std::byte*>(file.data());
  StoreU64(Xxh3(AsBytes(file).first(session_header::kChecksum)),
           bytes + session_header::kChecksum);
  StoreU64(Xxh3(AsBytes(file).first(file.size() - 8)), bytes + file.size() - 8);
  return file;
}

std::string With(std::string file, size_t offset, uint32_t value) {
  StoreU32(value, reinterpret_cast<std::byte*>(file.data()) + offset);
  return Repaired(std::move(file));
}

TEST_CASE("every truncation and every flipped byte is refused, and nothing changes",
          "[model][fault]") {
  Fixture fixture;
  const std::string good = fixture.Saved();
  const auto other = *fixture.model->CreateSession();
  const std::vector<int32_t> held = {9, 8, 7, 6};
  REQUIRE_OK(other->Prefill(held, {}));
  const auto refuse = [&](const std::string& content) {
    WriteFileOrDie(fixture.saved, content);
    const absl::Status status = other->Load(fixture.saved);
    REQUIRE(!status.ok());
    REQUIRE(absl::StrContains(status.message(), fixture.saved));
    REQUIRE(std::vector<int32_t>(other->tokens().begin(), other->tokens().end()) == held);
    return status;
  };
  for (size_t size = 0; size < good.size(); ++size) {
    INFO("cut to " << size << " of " << good.size() << " bytes");
    REQUIRE(absl::IsDataLoss(refuse(good.substr(0, size))));
  }
  for (size_t at = 0; at < good.size(); ++at) {
    INFO("byte " << at);
    std::string flipped = good;
    flipped[at] = static_cast<char>(flipped[at] ^ (1 << at % 8));
    const absl::Status status = refuse(flipped);
    REQUIRE((absl::IsDataLoss(status) || at < kSessionMagic.size()));
  }
  CHECK(absl::IsDataLoss(refuse(good + '\0')));
  CHECK(absl::IsDataLoss(refuse(good + good)));
  CHECK(absl::IsInvalidArgument(refuse(std::string(good.size(), 'x'))));

  // The rows are those of before: what follows has the bits of a session that met no such file.
  fixture.session->Reset();
  REQUIRE_OK(fixture.session->Prefill(held, {}));
  CHECK(AllLogits(*other, {1, 2, 3}) == AllLogits(*fixture.session, {1, 2, 3}));
  WriteFileOrDie(fixture.saved, good);
  REQUIRE_OK(other->Load(fixture.saved));
  CHECK(other->position() == 3);
}

TEST_CASE("a session of something else is refused, and the message says of what", "[model]") {
  Fixture fixture;
  const std::string good = fixture.Saved();
  const auto refused = [&](Session& session, const std::string& content) {
    WriteFileOrDie(fixture.saved, content);
    return session.Load(fixture.saved);
  };
  const auto opened = [&](const TinyModelOptions& tiny, const ModelOptions& options,
                          const char* word) {
    Fixture other(tiny, options);
    const absl::Status status = refused(*other.session, good);
    INFO(status.ToString());
    CHECK(absl::IsInvalidArgument(status));
    CHECK(absl::StrContains(status.message(), word));
    CHECK(other.session->position() == 0);
  };
  TinyModelOptions tiny = Small();
  tiny.seed = 8;
  opened(tiny, OptionsFor(Mode::kSparse), "model file");
  opened(Small(), OptionsFor(Mode::kDense), "mode");
  ModelOptions options = OptionsFor(Mode::kSparse);
  options.kv_type = KvType::kF16;
  opened(Small(), options, "kv_type");
  options = OptionsFor(Mode::kSparse);
  options.resident_type = ResidentType::kQ8;
  opened(Small(), options, "resident_type");
  options = OptionsFor(Mode::kSparse);
  options.context_tokens = 2;
  opened(Small(), options, "context");
  // The same uuid: predictors have been trained again.
  tiny = Small();
  tiny.predictor_rank = 8;
  opened(tiny, OptionsFor(Mode::kSparse), "predictors");

  const auto spoiled = [&](size_t offset, uint32_t value) {
    return refused(*fixture.session, With(good, offset, value));
  };
  CHECK(absl::IsUnimplemented(spoiled(session_header::kVersion, 2)));
  CHECK(absl::IsUnimplemented(spoiled(session_header::kReserved, 1)));
  CHECK(absl::IsDataLoss(spoiled(session_header::kVersion, 0)));
  CHECK(absl::IsDataLoss(spoiled(session_header::kHeaderBytes, 64)));
  CHECK(absl::IsInvalidArgument(spoiled(session_header::kByteOrder, 2)));
  CHECK(absl::IsInvalidArgument(spoiled(session_header::kPosition, 0xffffffff)));
  CHECK(absl::IsDataLoss(spoiled(session_header::kPosition, 2)));
  CHECK(absl::IsDataLoss(spoiled(session_header::kPendingToken, 97)));
  CHECK(absl::IsDataLoss(spoiled(session_header::kBytes, 97)));  // the first token
  CHECK(absl::IsNotFound(fixture.session->Load(fixture.dir.File("none"))));
  CHECK(absl::IsInvalidArgument(fixture.session->Load(fixture.dir.path())));
  CHECK(fixture.session->position() == 3);
}

// Predictors choose nothing in dense mode.
TEST_CASE("a dense session survives new predictors", "[model]") {
  Fixture fixture(Small(), OptionsFor(Mode::kDense));
  fixture.Saved();
  TinyModelOptions tiny = Small();
  tiny.predictor_rank = 0;
  Fixture other(tiny, OptionsFor(Mode::kDense));
  REQUIRE_OK(other.session->Load(fixture.saved));
  CHECK(other.session->position() == 3);
}

TEST_CASE("a session without tokens can be saved and loaded", "[model]") {
  Fixture fixture;
  REQUIRE_OK(fixture.session->Save(fixture.saved));
  REQUIRE_OK(fixture.session->Prefill(fixture.tokens, {}));
  REQUIRE_OK(fixture.session->Load(fixture.saved));
  CHECK(fixture.session->position() == 0);
}

TEST_CASE("rows of other kernels are loaded, with a remark", "[model]") {
  const std::vector<std::string> targets = kernels::AvailableTargets();
  if (targets.size() < 2) {
    WARN("this machine has one kernel target only: not tested");
    return;
  }
  Fixture fixture;
  REQUIRE(kernels::ForceTarget(targets.back()));
  fixture.Saved();
  REQUIRE(kernels::ForceTarget(""));
  std::vector<std::string> heard;
  SetLogCallback([&](int, const std::string& text) { heard.push_back(text); });
  const absl::Status loaded = fixture.session->Load(fixture.saved);
  REQUIRE_OK(fixture.session->Save(fixture.saved));
  SetLogCallback(nullptr);
  REQUIRE_OK(loaded);
  REQUIRE(heard.size() == 1);
  CHECK(absl::StrContains(heard[0], targets.back()));
}

TEST_CASE("a file that changes behind the check is found out", "[model][fault]") {
  Fixture fixture;
  std::string content = fixture.Saved();
  auto kv = KvCache::Create(1, 8, 4, 16, ElementType::kF32);
  REQUIRE_OK(kv);
  SessionIdentity identity;
  identity.model_uuid = 4;
  identity.num_layers = 1;
  identity.num_heads = 4;
  identity.head_dim = 16;
  identity.vocab_size = 97;
  const std::atomic<bool> cancelled{false};
  SessionContent session;
  session.tokens = {1, 2, 3};
  session.target = "a name that is longer than its place";
  REQUIRE_OK(WriteSessionFile(fixture.saved, identity, session, *kv, cancelled));
  auto file = SessionFile::Open(fixture.saved, identity, 8, cancelled);
  REQUIRE_OK(file);
  CHECK((*file)->content().tokens == session.tokens);
  CHECK((*file)->content().pending_token == -1);
  CHECK((*file)->content().target == session.target.substr(0, 15));
  REQUIRE_OK((*file)->ReadRows(&*kv));
  content = ReadFileOrDie(fixture.saved);
  content[200] = 1;
  WriteFileOrDie(fixture.saved, content);
  CHECK(absl::IsDataLoss((*file)->ReadRows(&*kv)));
}

// The old file, and nothing beside it.
void CheckLeftAlone(const Fixture& fixture, const std::string& old, const absl::Status& status) {
  INFO(status.ToString());
  CHECK((absl::IsUnavailable(status) || absl::IsPermissionDenied(status)));
  CHECK(ReadFileOrDie(fixture.saved) == old);
  int files = 0;
  for ([[maybe_unused]] const auto& entry :
       std::filesystem::directory_iterator(fixture.dir.path())) {
    ++files;
  }
  CHECK(files == 2);
}

TEST_CASE("a session that cannot be saved leaves the old file", "[model][fault]") {
  Fixture fixture;
  const std::string old = fixture.Saved();
  REQUIRE_OK(fixture.session->Prefill(fixture.tokens, {}));
  SECTION("no room: a limit to the size of files stands for a full disk") {
    rlimit before{};
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
    const rlimit small{old.size(), before.rlim_max};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    const absl::Status status = fixture.session->Save(fixture.saved);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
    CheckLeftAlone(fixture, old, status);
  }
  SECTION("a folder that cannot be written to") {
    if (geteuid() == 0) {
      // Nothing is forbidden to root; but this is no place for files.
      const absl::Status status = fixture.session->Save("/proc/saved.session");
      INFO(status.ToString());
      CHECK(!status.ok());
    } else {
      REQUIRE(chmod(fixture.dir.path().c_str(), 0500) == 0);
      const absl::Status status = fixture.session->Save(fixture.saved);
      REQUIRE(chmod(fixture.dir.path().c_str(), 0700) == 0);
      CheckLeftAlone(fixture, old, status);
    }
  }
  CHECK(absl::IsNotFound(fixture.session->Save(fixture.dir.File("none/saved.session"))));
  CHECK(absl::IsInvalidArgument(fixture.session->Save(fixture.dir.path())));
  CHECK(absl::IsInvalidArgument(fixture.session->Save("")));
  CHECK(ReadFileOrDie(fixture.saved) == old);
  REQUIRE_OK(fixture.session->Save(fixture.saved));
  CHECK(ReadFileOrDie(fixture.saved) != old);
}

TEST_CASE("saving and loading can be cancelled, and that is used up", "[model]") {
  Fixture fixture;
  const std::string old = fixture.Saved();
  REQUIRE_OK(fixture.session->Prefill(fixture.tokens, {}));
  fixture.session->Cancel();
  CHECK(absl::IsCancelled(fixture.session->Save(fixture.saved)));
  CHECK(ReadFileOrDie(fixture.saved) == old);
  fixture.session->Cancel();
  CHECK(absl::IsCancelled(fixture.session->Load(fixture.saved)));
  CHECK(fixture.session->position() == 6);
  REQUIRE_OK(fixture.session->Load(fixture.saved));
  CHECK(fixture.session->position() == 3);
}

}  // namespace
}  // namespace sluice
