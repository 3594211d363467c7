// Measures, layer by layer, how active sets and truth agree and how they overlap from token to
// token.
#ifndef SLUICE_LIB_MODEL_SPARSITY_METER_H_
#define SLUICE_LIB_MODEL_SPARSITY_METER_H_

#include <array>
#include <cstdint>
#include <vector>

#include "lib/format/record_layout.h"
#include "lib/model/ffn_step.h"

namespace sluice {

// Windows, in tokens, at which unions are measured.
inline constexpr std::array<uint32_t, 5> kUnionWindows = {1, 2, 5, 10, 30};

// Sums over tokens; divide by `tokens` and the layer's size for fractions.
struct LayerSparsity {
  uint64_t tokens = 0;
  uint64_t active = 0;     // truly active neurons (non-zero output)
  uint64_t predicted = 0;  // members of the active sets
  uint64_t both = 0;
  // Of the active sets: neurons used in a window of kUnionWindows[k] tokens that ends here, and
  // neurons of a token that are not in the kUnionWindows[k] tokens before it.
  std::array<uint64_t, kUnionWindows.size()> neuron_union{}, neuron_new{};
  std::array<uint64_t, kUnionWindows.size()> record_union{};

  double recall() const { return active == 0 ? 1 : static_cast<double>(both) / Double(active); }
  double precision() const {
    return predicted == 0 ? 1 : static_cast<double>(both) / Double(predicted);
  }

 private:
  static double Double(uint64_t v) { return static_cast<double>(v); }
};

// Attach to a session, feed text, then Finish().
class SparsityMeter : public FfnObserver {
 public:
  // `use_truth`: the sets are the truly active neurons, not the predicted ones (dense mode, where
  // everything counts as predicted).
  SparsityMeter(absl::Span<const RecordLayout> layouts, bool use_truth);

  void OnInput(uint32_t layer, size_t num_tokens, const float* x) override;
  void OnNeurons(uint32_t layer, size_t num_tokens, absl::Span<const uint32_t> neurons,
                 const float* outputs, const NeuronMasks& predicted) override;

  // Closes the windows that are open; call once, at the end.
  void Finish();
  const std::vector<LayerSparsity>& layers() const { return layers_; }

 private:
  // When each neuron (or record) was last used: token number + 1, 0 for never.
  using Stamps = std::vector<uint32_t>;
  void Use(uint64_t now, uint32_t* stamp,
           std::array<uint64_t, kUnionWindows.size()>* union_sum,
           std::array<uint64_t, kUnionWindows.size()>* new_sum);

  const std::vector<RecordLayout> layouts_;
  const bool use_truth_;
  std::vector<LayerSparsity> layers_;
  std::vector<Stamps> neuron_stamps_, record_stamps_;
};

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_SPARSITY_METER_H_
