// Files whose checksums are right and whose content is not: what an attacker would write.
#include "lib/format/manifest.h"

#include "absl/strings/match.h"
#include "lib/format/checksum.h"
#include "tests/support/catch.h"
#include "tests/unit/format/bundle_fixture.h"

namespace sluice {
namespace {

using nlohmann::json;
using testing::HeaderOf;
using testing::ReadFileOrDie;
using testing::TempDir;
using testing::WithHeader;
using testing::WithManifest;
using testing::WithManifestText;
using testing::WriteFileOrDie;

class Files {
 public:
  Files() {
    testing::MakeSampleFile(dir_.File("whole.flash"));
    whole_ = ReadFileOrDie(dir_.File("whole.flash"));
  }
  const std::string& whole() const { return whole_; }
  absl::Status Open(const std::string& content) const {
    WriteFileOrDie(dir_.File("changed.flash"), content);
    const absl::Status status = testing::ReadAll(dir_.File("changed.flash"));
    if (!status.ok()) CHECK(absl::StrContains(status.message(), dir_.File("changed.flash")));
    return status;
  }
  absl::Status OpenWith(const std::function<void(json*)>& change) const {
    return Open(WithManifest(whole_, change));
  }

 private:
  TempDir dir_;
  std::string whole_;
};

struct Change {
  const char* pointer;  // a JSON pointer into the manifest
  json value;
  const char* message;  // contained in the error's
};

TEST_CASE("Tensor entries that cannot be are refused", "[format]") {
  const Files files;
  REQUIRE_OK(files.OpenWith([](json*) {}));
  const uint64_t huge = UINT64_MAX;
  const Change changes[] = {
      {"/tensors", 1, "\"tensors\""},
      {"/tensors", json::object(), "\"tensors\""},
      {"/tensors/0", "x", "not an object"},
      {"/tensors/1/name", 5, "\"name\""},
      {"/tensors/1/name", "", "printable"},
      {"/tensors/1/name", "a\nb", "printable"},
      {"/tensors/1/name", std::string(257, 'x'), "printable"},
      {"/tensors/1/name", "embed_tokens", "two tensors are named"},
      {"/tensors/0/section", "records", "\"section\""},
      {"/tensors/0/section", 2, "\"section\""},
      {"/tensors/0/section", "predictors", "not inside"},
      {"/tensors/0/dtype", 1, "\"dtype\""},
      {"/tensors/0/shape", "67", "\"shape\""},
      {"/tensors/0/shape", json::array(), "rank 0"},
      {"/tensors/0/shape", {1, 1, 1, 1, 1, 1, 1, 67, 48}, "\"shape\""},
      {"/tensors/0/shape", {67, -48}, "\"shape\""},
      {"/tensors/0/shape", {67, 48.0}, "\"shape\""},
      {"/tensors/0/shape", {67, 0}, "dimension of 0"},
      {"/tensors/0/shape", {67, 49}, "its shape takes"},
      {"/tensors/0/shape", {huge, huge}, "2^64"},
      {"/tensors/0/shape", {uint64_t{1} << 62, 4}, "2^64"},
      {"/tensors/0/offset", 4097, "multiple"},
      {"/tensors/0/offset", 0, "not inside"},
      {"/tensors/0/offset", -4096, "\"offset\""},
      {"/tensors/0/offset", 4096.0, "\"offset\""},
      {"/tensors/0/offset", "4096", "\"offset\""},
      {"/tensors/0/offset", nullptr, "\"offset\""},
      {"/tensors/0/offset", huge, "\"offset\""},
      {"/tensors/0/offset", huge - 4095, "\"offset\""},
      {"/tensors/0/bytes", 1, "\"bytes\""},
      {"/tensors/0/bytes", huge, "\"bytes\""},
      {"/tensors/0/xxh3", 7, "\"xxh3\""},
      {"/tensors/0/xxh3", "123", "\"xxh3\""},
      {"/tensors/0/xxh3", "0000000000000000", "expected checksum"},
      {"/tensors/1/offset", 4096, "overlap"},
  };
  for (const Change& change : changes) {
    const absl::Status status = files.OpenWith(
        [&](json* manifest) { (*manifest)[json::json_pointer(change.pointer)] = change.value; });
    INFO(change.pointer << " = " << change.value.dump() << ": " << status.ToString());
    CHECK(absl::IsDataLoss(status));
    CHECK(absl::StrContains(status.message(), change.message));
  }
}

TEST_CASE("Layers that cannot be are refused", "[format]") {
  const Files files;
  const uint64_t huge = UINT64_MAX;
  const Change changes[] = {
      {"/layers", nullptr, "\"layers\""},
      {"/layers/0", json::array(), "not an object"},
      {"/layers/0/num_neurons", 0, "num_neurons"},
      {"/layers/0/num_neurons", 33, "num_records"},
      {"/layers/0/num_neurons", uint64_t{1} << 32, "num_neurons"},
      {"/layers/0/row_elements", 0, "row_elements"},
      {"/layers/0/row_elements", 33, "too small"},
      {"/layers/0/row_elements", UINT32_MAX, "too small"},
      {"/layers/0/rows_per_neuron", 1, "rows_per_neuron"},
      {"/layers/0/rows_per_neuron", 4, "rows_per_neuron"},
      {"/layers/0/neurons_per_record", 0, "neurons_per_record"},
      {"/layers/0/neurons_per_record", 17, "too small"},
      {"/layers/0/record_bytes", 4095, "record_bytes"},
      {"/layers/0/record_bytes", 0, "record_bytes"},
      {"/layers/0/record_bytes", 128u << 20, "record_bytes"},
      {"/layers/0/record_bytes", 8192, "where the one before ends"},
      {"/layers/2/record_bytes", 20480, "do not end where"},
      {"/layers/0/num_records", 3, "num_records"},
      {"/layers/0/num_records", UINT32_MAX, "num_records"},
      {"/layers/0/num_records", -2, "num_records"},
      {"/layers/0/num_records", 2.0, "num_records"},
      {"/layers/0/offset", 4096, "where the one before ends"},
      {"/layers/1/offset", huge, "\"offset\""},
      {"/layers/1/kind", 3, "\"kind\""},
  };
  for (const Change& change : changes) {
    const absl::Status status = files.OpenWith(
        [&](json* manifest) { (*manifest)[json::json_pointer(change.pointer)] = change.value; });
    INFO(change.pointer << " = " << change.value.dump() << ": " << status.ToString());
    CHECK(absl::IsDataLoss(status));
    CHECK(absl::StrContains(status.message(), change.message));
  }
  CHECK(absl::IsDataLoss(files.OpenWith([](json* m) { (*m)["layers"].erase(2); })));
  CHECK(absl::IsDataLoss(files.OpenWith([](json* m) { (*m)["layers"] = json::array(); })));
  CHECK(absl::IsDataLoss(files.OpenWith([](json* m) {
    std::swap((*m)["layers"][0], (*m)["layers"][1]);
  })));
}

TEST_CASE("Every member of an entry is needed", "[format]") {
  const Files files;
  for (const char* array : {"tensors", "layers"}) {
    const json entry = [&] {
      json first;
      WithManifest(files.whole(), [&](json* m) { first = (*m)[array][0]; });
      return first;
    }();
    for (const auto& member : entry.items()) {
      INFO(array << " " << member.key());
      CHECK(absl::IsDataLoss(
          files.OpenWith([&](json* m) { (*m)[array][0].erase(member.key()); })));
    }
    CHECK(absl::IsDataLoss(files.OpenWith([&](json* m) { m->erase(array); })));
  }
  CHECK(absl::IsDataLoss(files.OpenWith([](json* m) { m->erase("format"); })));
  CHECK(absl::IsDataLoss(files.OpenWith([](json* m) { (*m)["format"]["uuid"] = "00"; })));
  CHECK(absl::IsDataLoss(
      files.OpenWith([](json* m) { (*m)["format"]["uuid"] = "0000000000000000"; })));
}

TEST_CASE("Kinds and types of later versions are unimplemented, new members ignored",
          "[format]") {
  const Files files;
  CHECK(absl::IsUnimplemented(
      files.OpenWith([](json* m) { (*m)["layers"][0]["kind"] = "expert"; })));
  CHECK(absl::IsUnimplemented(
      files.OpenWith([](json* m) { (*m)["layers"][0]["dtype"] = "q4"; })));
  CHECK(absl::IsUnimplemented(
      files.OpenWith([](json* m) { (*m)["tensors"][0]["dtype"] = "q8"; })));
  CHECK(files.OpenWith([](json* m) {
    (*m)["tensors"][0]["new"] = 1;
    (*m)["layers"][0]["new"] = 1;
    (*m)["format"]["new"] = 1;
    (*m)["new"] = 1;
  }).ok());
}

TEST_CASE("Text that is no manifest is refused", "[format]") {
  const Files files;
  for (const char* text : {"x", "[]", "{}", "3", "\"a\"", "{\"tensors\":[]", "null",
                           "{\"tensors\":[],\"tensors\":[]}", "{\"a\":\"\xff\"}"}) {
    INFO(text);
    CHECK(absl::IsDataLoss(files.Open(WithManifestText(files.whole(), text))));
  }
  const std::string deep = std::string(100000, '[') + std::string(100000, ']');
  CHECK(absl::IsDataLoss(files.Open(WithManifestText(files.whole(), "{\"a\":" + deep + "}"))));
}

TEST_CASE("Counts over the limits are refused", "[format]") {
  const Files files;
  CHECK(absl::IsDataLoss(files.OpenWith([](json* m) {
    (*m)["tensors"] = std::vector<int>(kMaxTensors + 1);
  })));
  CHECK(absl::IsDataLoss(files.OpenWith([](json* m) {
    (*m)["layers"] = std::vector<int>(kMaxLayers + 1);
  })));
}

using HeaderChange = std::function<void(BundleHeader*)>;

TEST_CASE("Section tables that cannot be are refused", "[format]") {
  const Files files;
  const auto status_of = [&](const HeaderChange& change) {
    BundleHeader header = HeaderOf(files.whole());
    change(&header);
    return files.Open(WithHeader(files.whole(), header));
  };
  REQUIRE_OK(status_of([](BundleHeader*) {}));
  const HeaderChange changes[] = {
      [](BundleHeader* h) { h->sections[1].offset += 1; },
      [](BundleHeader* h) { h->sections[1].offset += 4096; },
      [](BundleHeader* h) { h->sections[1].offset -= 4096; },
      [](BundleHeader* h) { h->sections[1].offset = UINT64_MAX - 4095; },
      [](BundleHeader* h) { h->sections[0].offset = 0; },
      [](BundleHeader* h) { h->sections[1].bytes = UINT64_MAX; },
      [](BundleHeader* h) { h->sections[1].bytes = 0; },
      [](BundleHeader* h) { h->sections[1].bytes -= 1; },
      [](BundleHeader* h) { h->sections[2].bytes += 8; },
      [](BundleHeader* h) { h->sections.back().bytes += 4096; },
      [](BundleHeader* h) { h->sections.back().xxh3 ^= 1; },
      [](BundleHeader* h) { h->sections[0].xxh3 = 1; },
      [](BundleHeader* h) { h->sections.pop_back(); },
      [](BundleHeader* h) { h->sections.clear(); },
      [](BundleHeader* h) { h->sections[3].kind = SectionKind::kManifest; },
      [](BundleHeader* h) { std::swap(h->sections[0], h->sections[1]); },
      [](BundleHeader* h) { h->sections[0].kind = SectionKind::kTokenizer; },
      [](BundleHeader* h) { h->uuid ^= 1; },
      [](BundleHeader* h) { h->file_bytes += 4096; },
      [](BundleHeader* h) { h->major = 0; },
  };
  for (size_t i = 0; i < std::size(changes); ++i) {
    const absl::Status status = status_of(changes[i]);
    INFO("change " << i << ": " << status.ToString());
    CHECK(absl::IsDataLoss(status));
  }
}

TEST_CASE("Newer majors are refused, newer minors read", "[format]") {
  const Files files;
  BundleHeader header = HeaderOf(files.whole());
  header.minor = 7;
  CHECK(files.Open(WithHeader(files.whole(), header)).ok());
  header.major = 2;
  const absl::Status status = files.Open(WithHeader(files.whole(), header));
  CHECK(absl::IsUnimplemented(status));
  CHECK(absl::StrContains(status.message(), "2.7"));
}

// The sample's tokenizer section, as a section of some later version.
std::string WithUnknownSection(const std::string& file, bool optional) {
  BundleHeader header = HeaderOf(file);
  for (Section& section : header.sections) {
    if (section.kind != SectionKind::kTokenizer) continue;
    section.kind = static_cast<SectionKind>(77);
    section.optional = optional;
  }
  return WithHeader(file, header);
}

TEST_CASE("Unknown sections: optional ones are ignored, others refused", "[format]") {
  const TempDir dir;
  const Files files;
  CHECK(absl::IsUnimplemented(files.Open(WithUnknownSection(files.whole(), false))));
  std::string content = WithUnknownSection(files.whole(), true);
  CHECK(files.Open(content).ok());

  const std::string path = dir.File("m.flash");
  WriteFileOrDie(path, content);
  auto writer = BundleWriter::Edit(path);
  REQUIRE_OK(writer);
  REQUIRE_OK((*writer)->ReplacePredictors({}, json::object()));
  REQUIRE_OK((*writer)->Commit());
  const auto edited = BundleFile::Open(path);
  REQUIRE_OK(edited);
  CHECK((*edited)->ReadTokenizer()->empty());
  const Section& kept = (*edited)->sections()[3];
  CHECK(kept.kind == static_cast<SectionKind>(77));
  CHECK(kept.optional);

  content = ReadFileOrDie(path);
  content[kept.offset] ^= 1;
  WriteFileOrDie(path, content);
  const auto damaged = BundleFile::Open(path);
  REQUIRE_OK(damaged);
  CHECK(VerifyBundle(**damaged, {})->bad.size() == 1);
}

TEST_CASE("A file with unknown sections in its tail cannot be edited", "[format]") {
  const TempDir dir;
  const Files files;
  BundleHeader header = HeaderOf(files.whole());
  std::string content = files.whole() + std::string(4096, '\0');
  Section section;
  section.kind = static_cast<SectionKind>(77);
  section.optional = true;
  section.offset = files.whole().size();
  section.bytes = 1;
  section.xxh3 = Xxh3(testing::AsBytes(std::string(1, '\0')));
  header.sections.push_back(section);
  header.file_bytes = content.size();
  WriteFileOrDie(dir.File("m.flash"), WithHeader(content, header));
  const auto file = BundleFile::Open(dir.File("m.flash"));
  REQUIRE_OK(file);
  CHECK(VerifyBundle(**file, {})->bad.empty());
  CHECK(absl::IsUnimplemented(BundleWriter::Edit(dir.File("m.flash")).status()));
}

TEST_CASE("Reserved bytes and flags of the header must be zero", "[format]") {
  const Files files;
  for (size_t at : {size_t{40}, size_t{63}, kChecksumOffset - 1, kSectionTableOffset + 7 * 32}) {
    std::string page = files.whole().substr(0, kHeaderBytes);
    page[at] = 1;
    const uint64_t hash = Xxh3(testing::AsBytes(page).first(kChecksumOffset));
    for (size_t i = 0; i < 8; ++i) page[kChecksumOffset + i] = static_cast<char>(hash >> 8 * i);
    INFO("byte " << at);
    CHECK(absl::IsDataLoss(files.Open(page + files.whole().substr(kHeaderBytes))));
  }
}

}  // namespace
}  // namespace sluice
