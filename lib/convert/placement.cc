#include "lib/convert/placement.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

namespace sluice {
namespace {

// Partners of a neuron that are tried in one round. The best ones are soon taken by others; what
// does not find a partner among so many comes again in the next round, against chain ends alone.
constexpr size_t kCandidates = 48;
// A round at least halves the chains as a rule; a bound for sets that are made to prevent it.
constexpr int kMaxRounds = 40;
// Rows of counters that are held at once: 18 MiB for 18176 neurons.
constexpr size_t kRowBlock = 256;

struct Candidate {
  double weight = 0;
  uint32_t partner = 0;  // position among the round's ends
};

// Heavier first; equal weights by position, so that there is one order only.
bool Before(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.partner < b.partner;
}

struct Link {
  double weight;
  uint32_t a, b;  // a < b
};

// Lists of numbers, one after another.
struct Lists {
  std::vector<size_t> begin;
  std::vector<uint32_t> items;

  absl::Span<const uint32_t> list(size_t i) const {
    return absl::MakeConstSpan(items).subspan(begin[i], begin[i + 1] - begin[i]);
  }
};

class ChainBuilder {
 public:
  ChainBuilder(absl::Span<const std::vector<uint32_t>> sets, uint32_t num_neurons,
               ThreadPool* pool)
      : sets_(sets), pool_(pool), rate_(num_neurons), links_(num_neurons, {kNone, kNone}),
        parent_(num_neurons) {
    std::iota(parent_.begin(), parent_.end(), 0u);
    for (const std::vector<uint32_t>& set : sets_) {
      for (const uint32_t n : set) {
        if (n < num_neurons) ++rate_[n];
      }
    }
  }

  std::vector<uint32_t> Build() {
    for (int round = 0; round < kMaxRounds && Round(); ++round) {
    }
    return Concatenate();
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;

  uint32_t Root(uint32_t n) {
    while (parent_[n] != n) n = parent_[n] = parent_[parent_[n]];
    return n;
  }
  bool IsEnd(uint32_t n) const { return rate_[n] > 0 && links_[n][1] == kNone; }

  // Links what can be linked; false when nothing could.
  bool Round();
  void CollectEnds();
  void CountRow(size_t end, absl::Span<uint32_t> counts);
  std::vector<Link> FindLinks();
  void Join(uint32_t a, uint32_t b);
  std::vector<uint32_t> Concatenate() const;

  const absl::Span<const std::vector<uint32_t>> sets_;
  ThreadPool* const pool_;
  std::vector<uint32_t> rate_;                    // tokens that the neuron is active for
  std::vector<std::array<uint32_t, 2>> links_;    // neighbours in the chain; the first is set first
  std::vector<uint32_t> parent_;                  // union-find over chains

  // Of the round.
  std::vector<uint32_t> ends_;   // neurons
  std::vector<uint32_t> chain_;  // of each end
  Lists members_;                // of each token: positions in ends_
  Lists tokens_;                 // of each end
  std::vector<Candidate> candidates_;  // [end][kCandidates]
  std::vector<size_t> num_candidates_;
};

void ChainBuilder::CollectEnds() {
  ends_.clear();
  chain_.clear();
  std::vector<uint32_t> position(rate_.size(), kNone);
  for (uint32_t n = 0; n < rate_.size(); ++n) {
    if (!IsEnd(n)) continue;
    position[n] = static_cast<uint32_t>(ends_.size());
    ends_.push_back(n);
    chain_.push_back(Root(n));
  }
  members_.begin.assign(1, 0);
  members_.items.clear();
  tokens_.begin.assign(ends_.size() + 1, 0);
  for (const std::vector<uint32_t>& set : sets_) {
    for (const uint32_t n : set) {
      if (n >= position.size() || position[n] == kNone) continue;
      members_.items.push_back(position[n]);
      ++tokens_.begin[position[n] + 1];
    }
    members_.begin.push_back(members_.items.size());
  }
  std::partial_sum(tokens_.begin.begin(), tokens_.begin.end(), tokens_.begin.begin());
  tokens_.items.resize(members_.items.size());
  std::vector<size_t> at(tokens_.begin.begin(), tokens_.begin.end() - 1);
  for (size_t t = 0; t + 1 < members_.begin.size(); ++t) {
    for (const uint32_t end : members_.list(t)) {
      tokens_.items[at[end]++] = static_cast<uint32_t>(t);
    }
  }
}

// The best partners of one end. Allocates nothing: it runs on the pool's threads.
void ChainBuilder::CountRow(size_t end, absl::Span<uint32_t> counts) {
  std::fill(counts.begin(), counts.end(), 0u);
  for (const uint32_t token : tokens_.list(end)) {
    for (const uint32_t other : members_.list(token)) ++counts[other];
  }
  Candidate* const heap = candidates_.data() + end * kCandidates;
  size_t size = 0;
  for (uint32_t other = 0; other < counts.size(); ++other) {
    if (counts[other] == 0 || chain_[other] == chain_[end]) continue;
    const Candidate candidate{static_cast<double>(counts[other]), other};
    if (size == kCandidates) {
      if (!Before(candidate, heap[0])) continue;
      std::pop_heap(heap, heap + size--, Before);
    }
    heap[size++] = candidate;
    std::push_heap(heap, heap + size, Before);
  }
  num_candidates_[end] = size;
}

std::vector<Link> ChainBuilder::FindLinks() {
  candidates_.resize(ends_.size() * kCandidates);
  num_candidates_.assign(ends_.size(), 0);
  std::vector<uint32_t> counts(std::min(kRowBlock, ends_.size()) * ends_.size());
  for (size_t first = 0; first < ends_.size(); first += kRowBlock) {
    const auto rows = [&](size_t begin, size_t end) {
      for (size_t row = begin; row < end; ++row) {
        CountRow(first + row, absl::MakeSpan(counts).subspan(row * ends_.size(), ends_.size()));
      }
    };
    const size_t count = std::min(kRowBlock, ends_.size() - first);
    if (pool_ == nullptr) {
      rows(0, count);
    } else {
      pool_->ParallelFor(count, 8, rows);
    }
  }
  std::vector<Link> links;
  for (uint32_t end = 0; end < ends_.size(); ++end) {
    for (size_t k = 0; k < num_candidates_[end]; ++k) {
      const Candidate& c = candidates_[end * kCandidates + k];
      links.push_back({c.weight, std::min(ends_[end], ends_[c.partner]),
                       std::max(ends_[end], ends_[c.partner])});
    }
  }
  // A pair that found each other is there twice; the second is refused as of one chain.
  std::sort(links.begin(), links.end(), [](const Link& x, const Link& y) {
    if (x.weight != y.weight) return x.weight > y.weight;
    return x.a != y.a ? x.a < y.a : x.b < y.b;
  });
  return links;
}

void ChainBuilder::Join(uint32_t a, uint32_t b) {
  for (const auto& [from, to] : {std::pair{a, b}, std::pair{b, a}}) {
    links_[from][links_[from][0] == kNone ? 0 : 1] = to;
  }
  parent_[Root(a)] = Root(b);
}

bool ChainBuilder::Round() {
  CollectEnds();
  bool any = false;
  for (const Link& link : FindLinks()) {
    if (!IsEnd(link.a) || !IsEnd(link.b) || Root(link.a) == Root(link.b)) continue;
    Join(link.a, link.b);
    any = true;
  }
  return any;
}

std::vector<uint32_t> ChainBuilder::Concatenate() const {
  struct Chain {
    std::vector<uint32_t> neurons;
    double rate = 0;
  };
  std::vector<Chain> chains;
  std::vector<bool> seen(rate_.size());
  for (uint32_t start = 0; start < rate_.size(); ++start) {
    if (seen[start] || links_[start][1] != kNone) continue;
    Chain chain;
    for (uint32_t before = kNone, n = start; n != kNone;) {
      seen[n] = true;
      chain.neurons.push_back(n);
      chain.rate += rate_[n];
      const uint32_t next = links_[n][0] != before ? links_[n][0] : links_[n][1];
      before = n;
      n = next;
    }
    chain.rate /= static_cast<double>(chain.neurons.size());
    chains.push_back(std::move(chain));
  }
  std::stable_sort(chains.begin(), chains.end(),
                   [](const Chain& x, const Chain& y) { return x.rate > y.rate; });
  std::vector<uint32_t> order;
  order.reserve(rate_.size());
  for (const Chain& chain : chains) {
    order.insert(order.end(), chain.neurons.begin(), chain.neurons.end());
  }
  return order;
}

}  // namespace

std::vector<uint32_t> PlaceByCoactivation(absl::Span<const std::vector<uint32_t>> active_sets,
                                          uint32_t num_neurons, ThreadPool* pool) {
  return ChainBuilder(active_sets, num_neurons, pool).Build();
}

std::vector<uint32_t> InverseOrder(absl::Span<const uint32_t> order) {
  std::vector<uint32_t> inverse(order.size());
  for (uint32_t p = 0; p < order.size(); ++p) inverse[order[p]] = p;
  return inverse;
}

}  // namespace sluice
