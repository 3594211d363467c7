// A whole safetensors file.
#include "lib/convert/safetensors.h"
#include "tests/fuzz/read_shard.h"
#include "tests/fuzz/temp_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const sluice::fuzz::TempInput input(data, size);
  const auto shard = sluice::OpenSafetensors(input.path());
  if (shard.ok()) sluice::fuzz::ReadShard(shard->get());
  return 0;
}
