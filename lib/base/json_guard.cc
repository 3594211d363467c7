#include "lib/base/json_guard.h"

#include <cstddef>
#include <exception>
#include <iterator>
#include <new>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace sluice {
namespace {

using nlohmann::json;

// The longest piece of a hostile file that an error message repeats.
constexpr size_t kMaxQuotedBytes = 160;

// A tree of empty lists takes 25 times its text's memory. What a real file holds is longer: a merge
// as a pair, ["a","b"], is the densest, with one list and two values in 10 bytes. Small texts are
// free to be dense.
constexpr size_t kBytesPerContainer = 8;
constexpr size_t kBytesPerValue = 4;
constexpr size_t kFreeNodes = 65536;

// One printable line, whatever the bytes.
std::string Quoted(absl::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kMaxQuotedBytes)) {
    const auto byte = static_cast<unsigned char>(c);
    if (absl::ascii_isprint(byte)) {
      out.push_back(c);
    } else {
      absl::StrAppend(&out, "\\x", absl::Hex(byte, absl::kZeroPad2));
    }
  }
  return out;
}

// Walks the text and tells the tree builder how far the parser has read: the SAX calls of
// nlohmann carry no position.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** reached) : at_(at), reached_(reached) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *reached_ = ++at_;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** reached_;
};

// Builds the tree from SAX events and stops the parser at the first thing we do not accept.
class TreeBuilder : public nlohmann::json_sax<json> {
 public:
  explicit TreeBuilder(absl::string_view text) : text_(text), reached_(text.data()) {}

  bool Parse() {
    const CountingIterator begin(text_.data(), &reached_);
    const CountingIterator end(text_.data() + text_.size(), &reached_);
    return json::sax_parse(begin, end, this);
  }
  const std::string& error() const { return error_; }
  json TakeTree() { return std::move(root_); }

  bool null() override { return Put(nullptr); }
  bool boolean(bool value) override { return Put(value); }
  bool number_integer(number_integer_t value) override { return Put(value); }
  bool number_unsigned(number_unsigned_t value) override { return Put(value); }
  bool number_float(number_float_t value, const string_t&) override { return Put(value); }
  bool string(string_t& value) override { return Put(std::move(value)); }
  bool binary(binary_t& value) override { return Put(std::move(value)); }

  bool start_object(std::size_t) override { return Open(json::object()); }
  bool start_array(std::size_t) override { return Open(json::array()); }
  bool end_object() override { return Close(); }
  bool end_array() override { return Close(); }

  bool key(string_t& name) override {
    auto [member, inserted] =
        open_.back()->get_ref<json::object_t&>().emplace(std::move(name), nullptr);
    if (!inserted) {
      return Fail(LastByte(), absl::StrCat("key \"", Quoted(member->first),
                                           "\" stands twice in one object"));
    }
    member_ = &member->second;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& e) override {
    // what() begins with "[json.exception.parse_error.101] ", of no use to a reader.
    absl::string_view reason = e.what();
    const size_t bracket = reason.find("] ");
    if (bracket != absl::string_view::npos) reason.remove_prefix(bracket + 2);
    return Fail(position == 0 ? 0 : position - 1, Quoted(reason));  // position counts from 1
  }

 private:
  size_t LastByte() const { return static_cast<size_t>(reached_ - text_.data()) - 1; }

  bool Fail(size_t byte, absl::string_view reason) {
    error_ = absl::StrCat("byte ", byte, ": ", reason);
    return false;
  }

  // Where the next value belongs: the root, the end of the open array, or the member just named.
  json* Place(json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    json* parent = open_.back();
    if (parent->is_array()) {
      auto& array = parent->get_ref<json::array_t&>();
      array.push_back(std::move(value));
      return &array.back();
    }
    *member_ = std::move(value);
    return member_;
  }

  template <typename T>
  bool Put(T&& value) {
    if (++nodes_ > kFreeNodes + text_.size() / kBytesPerValue) {
      return Fail(LastByte(), "too many values for a text of this length");
    }
    Place(json(std::forward<T>(value)));
    return true;
  }

  bool Open(json container) {
    if (++containers_ > kFreeNodes + text_.size() / kBytesPerContainer) {
      return Fail(LastByte(), "too many lists and objects for a text of this length");
    }
    if (open_.size() >= static_cast<size_t>(kMaxJsonDepth)) {
      return Fail(LastByte(), absl::StrCat("nested deeper than ", kMaxJsonDepth));
    }
    open_.push_back(Place(std::move(container)));
    return true;
  }

  bool Close() {
    open_.pop_back();
    return true;
  }

  absl::string_view text_;
  const char* reached_;
  json root_;
  // Open containers, outermost first. Pointers stay good: while a container is open, nothing is
  // added to the one around it.
  std::vector<json*> open_;
  json* member_ = nullptr;
  size_t nodes_ = 0, containers_ = 0;
  std::string error_;
};

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view what) {
  // nlohmann takes a NUL byte for the end of the text and would ignore what follows it.
  const size_t nul = text.find('\0');
  if (nul != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": byte ", nul, ": NUL in JSON text"));
  }
  try {
    TreeBuilder builder(text);
    if (!builder.Parse()) {
      return absl::InvalidArgumentError(absl::StrCat(what, ": ", builder.error()));
    }
    return builder.TakeTree();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(what, ": no memory for its JSON"));
  } catch (const std::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": ", Quoted(e.what())));
  }
}

}  // namespace sluice
