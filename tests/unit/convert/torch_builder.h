// Files as torch.save writes them, byte by byte, so that a test can bend each byte.
#ifndef SLUICE_TESTS_UNIT_CONVERT_TORCH_BUILDER_H_
#define SLUICE_TESTS_UNIT_CONVERT_TORCH_BUILDER_H_

#include <cstdint>
#include <string>
#include <vector>

namespace sluice::testing {

// `width` bytes, little-endian.
std::string Le(uint64_t value, size_t width);

uint32_t Crc32(const std::string& data);

struct ZipEntry {
  std::string name;
  std::string data;        // as stored in the file
  uint16_t method = 0;     // 8: deflated
  uint32_t crc_xor = 0;    // bends the CRC
  int64_t size_lie = -1;   // the size before compression, when not data.size()
  uint32_t crc = 0;        // of the uncompressed data, for method 8
};
std::string Zip(const std::vector<ZipEntry>& entries);

// `data` as one stored deflate block: a compressed entry that needs no compressor.
std::string DeflateStored(const std::string& data);

// Pieces of pickles.
std::string PklString(const std::string& text);
std::string PklInt(int64_t value);  // BININT or LONG1
std::string PklInts(const std::vector<int64_t>& values);
std::string PklGlobal(const std::string& module, const std::string& name);

struct PklTensor {
  std::string name = "w";
  std::string storage_class = "FloatStorage";
  std::string key = "0";
  int64_t elements = 6;
  int64_t offset = 0;
  std::vector<int64_t> shape = {2, 3};
  std::vector<int64_t> strides = {3, 1};
};
// The call that rebuilds one tensor.
std::string PklRebuild(const PklTensor& tensor, bool legacy);
// A whole pickle: an OrderedDict of tensors.
std::string StatePickle(const std::vector<PklTensor>& tensors, bool legacy = false);

// A whole zip-form file with these storages, named "0", "1", ...
std::string TorchZip(const std::string& pickle, const std::vector<std::string>& storages);
// A whole legacy file.
std::string TorchLegacy(const std::string& pickle, const std::vector<std::string>& keys,
                        const std::vector<std::string>& storages, size_t element_bytes);

// f32 values 0, 1, 2, ... as bytes.
std::string Floats(int count);

}  // namespace sluice::testing

#endif  // SLUICE_TESTS_UNIT_CONVERT_TORCH_BUILDER_H_
