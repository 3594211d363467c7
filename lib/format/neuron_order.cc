#include "lib/format/neuron_order.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace sluice {
namespace {

constexpr absl::string_view kDigits = "0123456789abcdef";

size_t DigitsFor(size_t count) {
  size_t digits = 1;
  while (digits < 8 && count > (uint64_t{1} << (4 * digits))) ++digits;
  return digits;
}

}  // namespace

absl::Status CheckOrder(absl::Span<const uint32_t> order, uint64_t count,
                        absl::string_view what) {
  std::vector<bool> seen(order.size());
  for (const uint32_t n : order) {
    if (n < seen.size() && !seen[n]) {
      seen[n] = true;
      continue;
    }
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": an order of ", order.size(), " neurons ",
                     n < seen.size() ? "has neuron " : "has no neuron ", n,
                     n < seen.size() ? " twice" : ""));
  }
  if (order.size() == count) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " has ", count, " neurons, the order ", order.size()));
}

void ReorderRows(absl::Span<const uint32_t> order, absl::Span<const std::byte> data,
                 absl::Span<std::byte> out) {
  if (order.empty()) return;
  const size_t row = data.size() / order.size();
  for (size_t p = 0; p < order.size(); ++p) {
    std::memcpy(out.data() + p * row, data.data() + order[p] * row, row);
  }
}

std::string OrderToText(absl::Span<const uint32_t> order) {
  const size_t digits = DigitsFor(order.size());
  std::string text(order.size() * digits, '0');
  for (size_t p = 0; p < order.size(); ++p) {
    for (size_t d = 0; d < digits; ++d) {
      text[p * digits + d] = kDigits[(order[p] >> (4 * (digits - 1 - d))) & 15];
    }
  }
  return text;
}

absl::StatusOr<std::vector<uint32_t>> OrderFromText(absl::string_view text, uint32_t count,
                                                    absl::string_view what) {
  const size_t digits = DigitsFor(count);
  if (text.size() != uint64_t{count} * digits) {
    return absl::DataLossError(absl::StrCat(what, ": an order of ", count, " neurons has ",
                                            uint64_t{count} * digits, " digits, not ",
                                            text.size()));
  }
  std::vector<uint32_t> order(count);
  for (size_t i = 0; i < text.size(); ++i) {
    const size_t digit = kDigits.find(text[i]);
    if (digit == absl::string_view::npos) {
      return absl::DataLossError(absl::StrCat(what, ": digit ", i, " of an order is none"));
    }
    uint32_t& neuron = order[i / digits];
    neuron = neuron << 4 | static_cast<uint32_t>(digit);
  }
  if (absl::Status status = CheckOrder(order, count, what); !status.ok()) {
    return absl::DataLossError(status.message());
  }
  return order;
}

}  // namespace sluice
