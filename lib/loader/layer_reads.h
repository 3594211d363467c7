// The reads of one layer that are under way, from missing records to filled slots.
#ifndef SLUICE_LIB_LOADER_LAYER_READS_H_
#define SLUICE_LIB_LOADER_LAYER_READS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "lib/format/record_layout.h"
#include "lib/io/io_engine.h"
#include "lib/loader/read_planner.h"

namespace sluice {

// A record of a layer and the memory (record_bytes long, aligned) that it is to fill.
struct RecordRead {
  uint32_t record = 0;
  std::byte* destination = nullptr;
};

// How records become reads.
struct ReadRules {
  uint64_t max_extent_bytes = 0;     // a longer run of records is split
  bool join = true;                  // adjacent records become one read
  bool split_bundles = false;        // up row and the rest of a record are read apart
  const ReadCosts* costs = nullptr;  // tells which gaps are read through; nullptr: none
  std::byte* sink = nullptr;         // takes the bytes of gaps
};

// Bookkeeping only. Reads of one layer may be added while earlier ones are in flight. Everything is
// reserved at construction, so that no token allocates and no array moves under the kernel.
class LayerReads {
 public:
  explicit LayerReads(size_t max_records);

  uint32_t layer() const { return layer_; }
  // Records that have been added and neither taken nor failed.
  size_t pending() const { return pending_; }
  bool HasRoomFor(size_t records) const;

  // Forgets everything; nothing may be in flight.
  void Begin(uint32_t layer);

  // Plans `wanted`, ascending by record, all within the layout.
  //   reads  out: what the engine is to do, valid until the next Begin(); tags are those of Land()
  //          plus `tag_base`
  // Returns the records that lie in gaps.
  uint64_t Add(const RecordLayout& layout, absl::Span<const RecordRead> wanted,
               const ReadRules& rules, uint64_t tag_base, absl::Span<const IoRead>* reads);

  // A read has come back. False: there is no such read.
  bool Land(uint64_t tag, const absl::Status& status);
  bool has_landed() const { return next_landed_ < landed_.size(); }
  // Records that have landed and have not been taken.
  size_t num_landed() const { return num_landed_; }

  struct Piece {
    absl::Span<const RecordRead> records;
    const absl::Status* status;  // of the read as a whole
    uint32_t span = 0;           // records from the first to the last, gaps included
  };
  // The next extent that is there as a whole. Only while has_landed().
  Piece Take();

  static uint64_t BytesFor(uint32_t max_records);

 private:
  struct Progress {
    uint32_t parts_left = 0;
    absl::Status status;
  };
  void AddReads(const RecordLayout& layout, const Extent& extent, const ReadRules& rules,
                uint64_t tag);

  const size_t max_records_;
  uint32_t layer_ = 0;
  size_t pending_ = 0;
  std::vector<RecordRead> records_;
  std::vector<uint32_t> ids_;     // of one Add()
  std::vector<Extent> planned_;   // of one Add(); positions in ids_
  std::vector<Extent> extents_;   // positions in records_
  std::vector<Progress> progress_;  // of each extent
  std::vector<IoSegment> segments_;
  std::vector<IoRead> reads_;
  std::vector<uint32_t> landed_;  // extents, in the order in which they came
  size_t next_landed_ = 0;
  size_t num_landed_ = 0;
};

}  // namespace sluice

#endif  // SLUICE_LIB_LOADER_LAYER_READS_H_
