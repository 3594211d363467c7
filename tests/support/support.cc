#include "tests/support/catch.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include <unistd.h>

namespace sluice::testing {

uint64_t Seed() {
  const char* text = std::getenv("SLUICE_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

bool ShowSeed() {
  std::printf("seed %llu (SLUICE_SEED sets it)\n", static_cast<unsigned long long>(Seed()));
  return std::fflush(stdout) == 0;
}

void SkipProgram(const std::string& why) {
  const bool required = std::getenv("SLUICE_REQUIRE_IO_URING") != nullptr;
  std::fprintf(stderr, "skipped: %s\n", why.c_str());
  std::_Exit(required ? 1 : 4);
}

TempDir::TempDir() {
  std::string name = (std::filesystem::temp_directory_path() / "sluice-test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    std::perror("mkdtemp");
    std::abort();
  }
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string ReadFileOrDie(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    std::fprintf(stderr, "cannot read %s\n", path.c_str());
    std::abort();
  }
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void WriteFileOrDie(const std::string& path, const std::string& content) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << content;
  if (!out.flush()) {
    std::fprintf(stderr, "cannot write %s\n", path.c_str());
    std::abort();
  }
}

}  // namespace sluice::testing
