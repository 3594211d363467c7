// Stands in for libFuzzer: runs a target over every file of its corpus, then over seeded mutations
// of them (SLUICE_FUZZ_RUNS, default 2000). The input at hand is kept in a file while it runs, so
// that a crash leaves it behind.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

constexpr uint64_t kDefaultRuns = 2000;

std::vector<std::string> ReadCorpus(const std::string& folder) {
  std::vector<std::string> paths, inputs;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.is_regular_file()) paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  for (const std::string& path : paths) {
    std::ifstream in(path, std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return inputs;
}

uint64_t Variable(const char* name, uint64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

std::string Mutate(std::string input, const std::vector<std::string>& corpus,
                   std::mt19937_64* random) {
  const uint64_t edits = 1 + (*random)() % 4;
  for (uint64_t i = 0; i < edits; ++i) {
    const size_t at = input.empty() ? 0 : (*random)() % input.size();
    switch ((*random)() % 6) {
      case 0:
        if (!input.empty()) input[at] ^= static_cast<char>(1 << (*random)() % 8);
        break;
      case 1:
        if (!input.empty()) input[at] = static_cast<char>((*random)());
        break;
      case 2:
        input.insert(at, 1 + (*random)() % 8, static_cast<char>((*random)()));
        break;
      case 3:
        input.erase(at, 1 + (*random)() % 16);
        break;
      case 4:
        input.resize(at);
        break;
      default: {
        const std::string& other = corpus[(*random)() % corpus.size()];
        const size_t from = other.empty() ? 0 : (*random)() % other.size();
        input.insert(at, other.substr(from, (*random)() % 64));
      }
    }
  }
  return input;
}

void Run(const std::string& input, const std::string& keep) {
  std::ofstream(keep, std::ios::binary) << input;
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
    return 2;
  }
  const std::vector<std::string> corpus = ReadCorpus(argv[1]);
  if (corpus.empty()) {
    std::fprintf(stderr, "no corpus in %s\n", argv[1]);
    return 1;
  }
  const uint64_t runs = Variable("SLUICE_FUZZ_RUNS", kDefaultRuns);
  const uint64_t seed = Variable("SLUICE_SEED", 1);
  std::printf("seed %llu (SLUICE_SEED sets it)\n", static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  const std::string keep = std::string(argv[0]) + ".last-input";
  for (const std::string& input : corpus) Run(input, keep);
  std::mt19937_64 random(seed);
  for (uint64_t i = 0; i < runs; ++i) {
    Run(Mutate(corpus[random() % corpus.size()], corpus, &random), keep);
  }
  std::filesystem::remove(keep);
  std::printf("%zu corpus files, %llu mutations\n", corpus.size(),
              static_cast<unsigned long long>(runs));
  return 0;
}
