// A small random OPT model, written straight into a bundle file: seconds of conversion and
// training are not what the tests of the model module are about.
#ifndef SLUICE_TESTS_SUPPORT_TINY_MODEL_H_
#define SLUICE_TESTS_SUPPORT_TINY_MODEL_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lib/model/model_config.h"
#include "sluice/flash_model.h"
#include "sluice/session.h"

namespace sluice::testing {

struct TinyModelOptions {
  uint64_t seed = 7;
  uint32_t num_layers = 3;
  uint32_t d_model = 64;
  uint32_t d_ffn = 203;  // the last record is not full
  uint32_t vocab_size = 97;
  uint32_t max_positions = 96;
  uint32_t predictor_rank = 12;  // 0: no predictors
  bool lookahead = true;  // with predictors: guesses of the next layer, mostly wrong ones
  uint64_t part_bytes = 0;  // the file in parts of that size; 0: in one
  // Changes a tensor before it is written.
  std::function<void(const std::string& name, std::vector<float>* values)> edit;
};

ModelConfig TinyConfig(const TinyModelOptions& options);

// Writes the model to `path`, or stops the test program.
void WriteTinyModel(const std::string& path, const TinyModelOptions& options);

// Logits of every token, row after row; stops the test on an error.
std::vector<float> AllLogits(Session& session, const std::vector<int32_t>& tokens);

// `count` seeded ids in [0, vocab).
std::vector<int32_t> RandomTokens(uint64_t seed, size_t count, uint32_t vocab);

}  // namespace sluice::testing

#endif  // SLUICE_TESTS_SUPPORT_TINY_MODEL_H_
