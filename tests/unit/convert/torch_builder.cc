#include "tests/unit/convert/torch_builder.h"

#include <cstring>

namespace sluice::testing {

std::string Le(uint64_t value, size_t width) {
  std::string out;
  for (size_t i = 0; i < width; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
  return out;
}

uint32_t Crc32(const std::string& data) {
  uint32_t crc = 0xffffffffu;
  for (const char c : data) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
  }
  return ~crc;
}

std::string Zip(const std::vector<ZipEntry>& entries) {
  std::string out;
  std::string directory;
  for (const ZipEntry& entry : entries) {
    const uint64_t size =
        entry.size_lie >= 0 ? static_cast<uint64_t>(entry.size_lie) : entry.data.size();
    const uint32_t crc = (entry.method == 0 ? Crc32(entry.data) : entry.crc) ^ entry.crc_xor;
    const std::string common = Le(0, 2) + Le(entry.method, 2) + Le(0, 4) + Le(crc, 4) +
                               Le(entry.data.size(), 4) + Le(size, 4) +
                               Le(entry.name.size(), 2) + Le(0, 2);
    directory += "PK\x01\x02" + Le(20, 2) + Le(20, 2) + common + Le(0, 2) + Le(0, 2) +
                 Le(0, 2) + Le(0, 4) + Le(out.size(), 4) + entry.name;
    out += "PK\x03\x04" + Le(20, 2) + common + entry.name + entry.data;
  }
  const size_t at = out.size();
  out += directory;
  out += "PK\x05\x06" + Le(0, 4) + Le(entries.size(), 2) + Le(entries.size(), 2) +
         Le(directory.size(), 4) + Le(at, 4) + Le(0, 2);
  return out;
}

std::string DeflateStored(const std::string& data) {
  return std::string(1, '\x01') + Le(data.size(), 2) + Le(~data.size() & 0xffff, 2) + data;
}

std::string PklString(const std::string& text) { return "X" + Le(text.size(), 4) + text; }

std::string PklInt(int64_t value) {
  if (value == static_cast<int32_t>(value)) return "J" + Le(static_cast<uint64_t>(value), 4);
  return "\x8a\x08" + Le(static_cast<uint64_t>(value), 8);
}

std::string PklInts(const std::vector<int64_t>& values) {
  std::string out = "(";
  for (const int64_t value : values) out += PklInt(value);
  return out + "t";
}

std::string PklGlobal(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}

std::string PklRebuild(const PklTensor& tensor, bool legacy) {
  return PklGlobal("torch._utils", "_rebuild_tensor_v2") + "((" + PklString("storage") +
         PklGlobal("torch", tensor.storage_class) + PklString(tensor.key) + PklString("cpu") +
         PklInt(tensor.elements) + (legacy ? "N" : "") + "tQ" + PklInt(tensor.offset) +
         PklInts(tensor.shape) + PklInts(tensor.strides) + "\x89" +
         PklGlobal("collections", "OrderedDict") + ")RtR";
}

std::string StatePickle(const std::vector<PklTensor>& tensors, bool legacy) {
  std::string out = "\x80\x02" + PklGlobal("collections", "OrderedDict") + ")R(";
  for (const PklTensor& tensor : tensors) {
    out += PklString(tensor.name) + PklRebuild(tensor, legacy);
  }
  return out + "u.";
}

std::string TorchZip(const std::string& pickle, const std::vector<std::string>& storages) {
  std::vector<ZipEntry> entries = {{"m/data.pkl", pickle}, {"m/byteorder", "little"}};
  for (size_t i = 0; i < storages.size(); ++i) {
    entries.push_back({"m/data/" + std::to_string(i), storages[i]});
  }
  entries.push_back({"m/version", "3\n"});
  return Zip(entries);
}

std::string TorchLegacy(const std::string& pickle, const std::vector<std::string>& keys,
                        const std::vector<std::string>& storages, size_t element_bytes) {
  std::string out("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", 15);
  out += "\x80\x02M\xe9\x03.";
  out += "\x80\x02}(" + PklString("protocol_version") + "M\xe9\x03" +
         PklString("little_endian") + "\x88u.";
  out += pickle + "\x80\x02](";
  for (const std::string& key : keys) out += PklString(key);
  out += "e.";
  for (const std::string& storage : storages) {
    out += Le(storage.size() / element_bytes, 8) + storage;
  }
  return out;
}

std::string Floats(int count) {
  std::string out(static_cast<size_t>(count) * sizeof(float), '\0');
  for (int i = 0; i < count; ++i) {
    const float value = static_cast<float>(i);
    std::memcpy(out.data() + static_cast<size_t>(i) * sizeof(float), &value, sizeof value);
  }
  return out;
}

}  // namespace sluice::testing
