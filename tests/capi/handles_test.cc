// Handles without a model: what the table promises, and a session that meets a defect.
#include "capi/src/handles.h"

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>

#include "tests/support/catch.h"

namespace sluice::capi {
namespace {

class FakeSession : public Session {
 public:
  explicit FakeSession(int* alive) : alive_(alive) { ++*alive_; }
  ~FakeSession() override { --*alive_; }
  uint32_t position() const override { return 7; }
  uint32_t context_tokens() const override { return 8; }
  absl::Span<const int32_t> tokens() const override { return {}; }
  absl::Status Prefill(absl::Span<const int32_t>, absl::Span<float>,
                       const PrefillOptions&) override {
    return absl::OkStatus();
  }
  absl::Status Decode(int32_t, absl::Span<float>) override { return absl::OkStatus(); }
  absl::StatusOr<GenerateResult> Generate(const std::string&, const GenerateOptions&) override {
    return GenerateResult();
  }
  absl::StatusOr<GenerateResult> GenerateFromTokens(absl::Span<const int32_t>,
                                                    const GenerateOptions&) override {
    return GenerateResult();
  }
  void Cancel() override {}
  void Reset() override {}
  absl::Status Rewind(uint32_t) override { return absl::OkStatus(); }
  absl::StatusOr<std::unique_ptr<Session>> Clone() const override {
    return absl::UnimplementedError("a fake");
  }
  absl::Status Save(const std::string&) const override { return absl::OkStatus(); }
  absl::Status Load(const std::string&) override { return absl::OkStatus(); }
  Stats stats() const override { return Stats(); }
  const std::vector<TokenSample>& samples() const override { return samples_; }
  void ResetStats() override {}

 private:
  int* const alive_;
  std::vector<TokenSample> samples_;
};

absl::Status Succeed(Session&) { return absl::OkStatus(); }

TEST_CASE("a handle's value is given out once, whatever its type", "[capi]") {
  HandleTable<sluice_model, int> ints;
  HandleTable<sluice_session, std::string> strings;
  sluice_model* first = ints.Add(std::make_shared<int>(1));
  sluice_session* other = strings.Add(std::make_shared<std::string>("2"));
  CHECK(static_cast<void*>(first) != static_cast<void*>(other));
  REQUIRE(ints.Find(first) != nullptr);
  CHECK(*ints.Find(first) == 1);
  CHECK(ints.Find(reinterpret_cast<sluice_model*>(other)) == nullptr);
  CHECK(ints.Find(nullptr) == nullptr);
  CHECK(ints.Remove(first) != nullptr);
  CHECK(ints.Remove(first) == nullptr);
  CHECK(ints.Add(std::make_shared<int>(3)) != first);
  CHECK(ints.Find(first) == nullptr);
}

TEST_CASE("after a defect a session answers nothing else", "[capi]") {
  int alive = 0;
  SessionHandle handle(std::make_unique<FakeSession>(&alive), 8);
  REQUIRE(handle.Run(Succeed).ok());
  CHECK(handle.position() == 7);
  SECTION("an ordinary error is none") {
    CHECK(absl::IsUnavailable(
        handle.Run([](Session&) { return absl::UnavailableError("storage"); })));
    CHECK(handle.Run(Succeed).ok());
  }
  SECTION("kInternal is one") {
    CHECK(absl::IsInternal(handle.Run([](Session&) { return absl::InternalError("broken"); })));
    CHECK(absl::IsInternal(handle.Run(Succeed)));
    CHECK(absl::IsInternal(handle.CopyStats().status()));
  }
  SECTION("an exception is one") {
    const absl::Status status =
        handle.Run([](Session&) -> absl::Status { throw std::runtime_error("the text"); });
    CHECK(absl::IsInternal(status));
    CHECK(std::string(status.message()).find("the text") != std::string::npos);
    CHECK(absl::IsInternal(handle.Run(Succeed)));
  }
  handle.Cancel();
  handle.Close();
  CHECK(alive == 0);
  CHECK(absl::IsInvalidArgument(handle.Run(Succeed)));
  handle.Cancel();
}

TEST_CASE("a session that is closed by its own call goes when the call returns", "[capi]") {
  int alive = 0;
  SessionHandle handle(std::make_unique<FakeSession>(&alive), 8);
  const absl::Status status = handle.Run([&](Session&) {
    handle.Close();
    CHECK(alive == 1);
    CHECK(absl::IsInvalidArgument(handle.Run(Succeed)));
    return absl::OkStatus();
  });
  CHECK(status.ok());
  CHECK(alive == 0);
}

std::shared_ptr<SessionHandle> FakeHandle(int* alive) {
  return std::make_shared<SessionHandle>(std::make_unique<FakeSession>(alive), 8);
}

TEST_CASE("what is started ends once, with the body's status", "[capi]") {
  int alive = 0;
  std::atomic<int> ends{0};
  absl::Status ended;
  const auto done = [&](const absl::Status& status) {
    ended = status;
    ++ends;
  };
  const auto handle = FakeHandle(&alive);
  SECTION("it succeeds") {
    REQUIRE(handle->Start(Succeed, done).ok());
    handle->Close();
    CHECK(ended.ok());
  }
  SECTION("it fails") {
    REQUIRE(handle->Start([](Session&) { return absl::UnavailableError("storage"); }, done).ok());
    handle->Close();
    CHECK(absl::IsUnavailable(ended));
  }
  SECTION("it throws, and so does the end") {
    const auto throw_too = [&](const absl::Status& status) {
      done(status);
      throw std::runtime_error("nobody catches this");
    };
    const auto body = [](Session&) -> absl::Status { throw std::runtime_error("the text"); };
    REQUIRE(handle->Start(body, throw_too).ok());
    while (ends == 0) std::this_thread::yield();
    CHECK(absl::IsInternal(handle->Run(Succeed)));
    handle->Close();
    CHECK(absl::IsInternal(ended));
  }
  CHECK(ends == 1);
  CHECK(alive == 0);
  CHECK(absl::IsInvalidArgument(handle->Start(Succeed, done)));
  CHECK(ends == 1);
}

TEST_CASE("looks overlap, and keep changes away", "[capi]") {
  int alive = 0;
  const auto handle = FakeHandle(&alive);
  int looks = 0;
  const absl::Status outer = handle->Look([&](const Session&) {
    CHECK(handle->Look([&](const Session& s) {
      ++looks;
      CHECK(s.position() == 7);
      return absl::OkStatus();
    }).ok());
    CHECK(absl::IsFailedPrecondition(handle->Run(Succeed)));
    CHECK(absl::IsFailedPrecondition(handle->Start(Succeed, [](const absl::Status&) {})));
    return absl::NotFoundError("of its own");
  });
  CHECK(absl::IsNotFound(outer));
  CHECK(looks == 1);
  CHECK(handle->Run([&](Session&) {
    CHECK(absl::IsFailedPrecondition(
        handle->Look([](const Session&) { return absl::OkStatus(); })));
    return absl::OkStatus();
  }).ok());
  // Whoever closes waits for them.
  std::atomic<bool> looking{false};
  std::atomic<bool> over{false};
  absl::Status status;
  std::thread other([&] {
    status = handle->Look([&](const Session&) {
      looking = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
      over = true;
      return absl::OkStatus();
    });
  });
  while (!looking) std::this_thread::yield();
  handle->Close();
  CHECK(over);
  CHECK(alive == 0);
  other.join();
  CHECK(status.ok());
}

TEST_CASE("a handle that nobody holds any more lets its thread go", "[capi]") {
  int alive = 0;
  std::atomic<int> ends{0};
  {
    const auto handle = FakeHandle(&alive);
    // Closed by its own thread, and let go of by this one: nobody joins.
    REQUIRE(handle->Start(
        [&](Session&) {
          handle->Close();
          return absl::OkStatus();
        },
        [&](const absl::Status&) { ++ends; }).ok());
    while (ends == 0) std::this_thread::yield();
  }
  CHECK(ends == 1);
  CHECK(alive == 0);
}

}  // namespace
}  // namespace sluice::capi
