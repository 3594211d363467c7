// How a model is opened. Zero (or the first enumerator) always means "choose for me".
#ifndef SLUICE_OPTIONS_H_
#define SLUICE_OPTIONS_H_

#include <cstdint>
#include <string>

namespace sluice {

// Which neurons of a feed-forward layer are computed.
enum class Mode {
  kAuto = 0,    // sparse when the file has predictors, else dense
  kSparse = 1,  // those that the predictor names; an error when the file has none
  kDense = 2    // all: exact
};

enum class Engine {
  kAuto = 0,   // io_uring where it works, else pread threads; stats say which, and why
  kUring = 1,  // io_uring or an error
  kPread = 2
};

// Single techniques, to be switched off for measurements. No result depends on them.
struct Techniques {
  bool window = true;     // keep the neurons of the last tokens; else each token reads all it needs
  bool bundles = true;    // a neuron's rows in one read; else two. Needs one neuron to a record
  bool join = true;       // adjacent records in one read, and small gaps read through
  bool overlap = true;    // compute while reads fly
  bool lookahead = true;  // guess the next layer's neurons and read them early
  // The weights that stay in DRAM are read again for each token, as if nothing had been kept.
  bool keep_resident = true;
};

// How the weights that stay in DRAM are kept: the attention projections, the token and output
// embeddings and the projections around them. The rest stays as it is in the file.
enum class ResidentType {
  kAuto = 0,  // as in the file
  // Rounded at open to 8 bits, in groups of 32 with an f16 scale: 1.06 bytes a weight instead of
  // f16's 2, in memory and in what each token reads from it. Results are no longer those of the
  // file's weights: the model in examples/models/ has a perplexity of 53.49 instead of 53.48.
  kQ8 = 1
};

// How keys and values of past tokens are kept.
enum class KvType {
  kF32 = 0,
  // Half the KV cache. Each key and value is rounded once, so results differ from those of f32;
  // beyond 65504 they are no numbers any more, and the token fails.
  kF16 = 1
};

struct ModelOptions {
  // Everything that the model and its sessions hold in DRAM. Peak RSS stays within it plus 32 MiB.
  // 0: what is free to this process, less a margin.
  uint64_t dram_budget_bytes = 0;
  // Tokens that each session can hold (prompt and generation). 0: the model's own limit, at most
  // 2048.
  uint32_t context_tokens = 0;
  // Sessions and weight backends that may exist at one time; their KV caches are allocated at
  // open. 0: 1.
  uint32_t max_sessions = 0;
  // The neuron window in tokens. 0: as many as the slots hold.
  uint32_t window_tokens = 0;
  Mode mode = Mode::kAuto;
  // Compute threads, the caller's included, at most 256. 0: by affinity mask and CPU quota.
  uint32_t threads = 0;
  Engine engine = Engine::kAuto;
  // Reads in flight, at most 4096. 0: 128.
  uint32_t queue_depth = 0;
  // Prompt tokens that go through a layer together, at most 512. 0: 32. More: fewer reads, more
  // scratch; above 32 only where the budget has room for it.
  uint32_t prefill_chunk_tokens = 0;
  // Check the checksum of every record that is read.
  bool verify_checksums = true;
  // What reads cost on the device that the file lies on, as SaveDeviceCurve() or `sluice device`
  // wrote it. Empty: a generic device. No result depends on it.
  std::string device_curve_path;
  Techniques techniques;
  ResidentType resident_type = ResidentType::kAuto;
  KvType kv_type = KvType::kF32;
  // For hosts that keep their own attention and KV cache: only what CreateWeightBackend() needs is
  // read and kept (FFN biases, predictors, neuron slots; the tokenizer stays). CreateSession() is
  // refused, context_tokens, kv_type and resident_type mean nothing.
  bool ffn_only = false;
};

}  // namespace sluice

#endif  // SLUICE_OPTIONS_H_
