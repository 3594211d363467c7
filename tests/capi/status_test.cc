// Every canonical abseil code has its number in the C ABI, and so has one that nobody knows yet.
#include "capi/src/status.h"

#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/catch.h"

namespace sluice::capi {
namespace {

struct Row {
  absl::StatusCode code;
  sluice_status expected;
};

const std::vector<Row> kTable = {
    {absl::StatusCode::kOk, SLUICE_OK},
    {absl::StatusCode::kCancelled, SLUICE_CANCELLED},
    {absl::StatusCode::kUnknown, SLUICE_INTERNAL},
    {absl::StatusCode::kInvalidArgument, SLUICE_INVALID_ARGUMENT},
    {absl::StatusCode::kDeadlineExceeded, SLUICE_INTERNAL},
    {absl::StatusCode::kNotFound, SLUICE_NOT_FOUND},
    {absl::StatusCode::kAlreadyExists, SLUICE_INTERNAL},
    {absl::StatusCode::kPermissionDenied, SLUICE_IO},
    {absl::StatusCode::kResourceExhausted, SLUICE_OUT_OF_MEMORY},
    {absl::StatusCode::kFailedPrecondition, SLUICE_BAD_STATE},
    {absl::StatusCode::kAborted, SLUICE_CANCELLED},
    {absl::StatusCode::kOutOfRange, SLUICE_INVALID_ARGUMENT},
    {absl::StatusCode::kUnimplemented, SLUICE_UNSUPPORTED},
    {absl::StatusCode::kInternal, SLUICE_INTERNAL},
    {absl::StatusCode::kUnavailable, SLUICE_IO},
    {absl::StatusCode::kDataLoss, SLUICE_CORRUPT},
    {absl::StatusCode::kUnauthenticated, SLUICE_INTERNAL},
};

TEST_CASE("every canonical code is mapped", "[capi]") {
  // The canonical codes are 0 to 16; the table has each of them once, in order.
  REQUIRE(kTable.size() == 17);
  for (size_t i = 0; i < kTable.size(); ++i) {
    INFO("code " << i);
    REQUIRE(static_cast<size_t>(kTable[i].code) == i);
    CHECK(CodeOf(kTable[i].code) == kTable[i].expected);
  }
  CHECK(CodeOf(static_cast<absl::StatusCode>(17)) == SLUICE_INTERNAL);
  CHECK(CodeOf(static_cast<absl::StatusCode>(-3)) == SLUICE_INTERNAL);
}

TEST_CASE("a message is data", "[capi]") {
  CHECK(Report(absl::NotFoundError("%s%n is no format")) == SLUICE_NOT_FOUND);
  CHECK(std::string(sluice_last_error_message()) == "%s%n is no format");
  CHECK(Report(absl::OkStatus()) == SLUICE_OK);
  CHECK(std::string(sluice_last_error_message()).empty());
}

TEST_CASE("exceptions end in the wrapper, with their text", "[capi]") {
  const auto throws = [](auto exception) {
    return Enter([&]() -> absl::Status { throw exception; });
  };
  CHECK(throws(std::bad_alloc()) == SLUICE_OUT_OF_MEMORY);
  CHECK(std::string(sluice_last_error_message()) == "out of memory");
  CHECK(throws(std::runtime_error("the text")) == SLUICE_INTERNAL);
  CHECK(std::string(sluice_last_error_message()).find("the text") != std::string::npos);
  CHECK(throws(42) == SLUICE_INTERNAL);
  CHECK_FALSE(std::string(sluice_last_error_message()).empty());
  EnterQuietly([] { throw 42; });

  CHECK(ReportOutOfMemory() == SLUICE_OUT_OF_MEMORY);
  CHECK(std::string(sluice_last_error_message()) == "out of memory");
  CHECK(Report(absl::OkStatus()) == SLUICE_OK);
  CHECK(std::string(sluice_last_error_message()).empty());
}

}  // namespace
}  // namespace sluice::capi
