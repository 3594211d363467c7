// Goes on with a text, through the C++ API.
//
//   generate_cc MODEL.flash "The old woman opened the door and"
//
// Build it against an installed copy: c++ -std=c++20 generate.cc
// $(pkg-config --cflags --libs sluice-cpp)
#include <iostream>
#include <string>

#include "sluice/flash_model.h"

namespace {

absl::Status Generate(const std::string& path, const std::string& prompt) {
  sluice::ModelOptions model_options;
  model_options.context_tokens = 256;
  auto model = sluice::FlashModel::Open(path, model_options);
  if (!model.ok()) return model.status();
  auto session = (*model)->CreateSession();
  if (!session.ok()) return session.status();

  sluice::GenerateOptions options;
  options.max_tokens = 60;
  options.on_token = [](int32_t, const std::string& text) {
    std::cout << text << std::flush;
    return std::cout.good();  // false stops: nobody listens any more
  };
  const auto result = (*session)->Generate(prompt, options);
  if (!result.ok()) return result.status();
  std::cout << "\n";
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: " << argv[0] << " MODEL PROMPT\n";
    return 2;
  }
  const absl::Status status = Generate(argv[1], argv[2]);
  if (status.ok()) return 0;
  std::cerr << argv[0] << ": " << status.message() << "\n";
  return 1;
}
