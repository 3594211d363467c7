// A whole file of torch.save: the zip form and, by its first byte, the legacy form.
#include "lib/convert/torch_bin.h"
#include "tests/fuzz/read_shard.h"
#include "tests/fuzz/temp_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const sluice::fuzz::TempInput input(data, size);
  const auto shard = sluice::OpenTorchBin(input.path());
  if (shard.ok()) sluice::fuzz::ReadShard(shard->get());
  return 0;
}
