#include "lib/base/log.h"

#include <mutex>
#include <utility>

namespace sluice {
namespace {

struct Sink {
  std::mutex mutex;
  LogSink sink;
};

Sink& GlobalSink() {
  static Sink* sink = new Sink;  // never destroyed: threads may log while the process ends
  return *sink;
}

}  // namespace

void SetLogSink(LogSink sink) {
  Sink& global = GlobalSink();
  std::lock_guard<std::mutex> lock(global.mutex);
  global.sink = std::move(sink);
}

void Log(LogLevel level, absl::string_view text) {
  Sink& global = GlobalSink();
  std::lock_guard<std::mutex> lock(global.mutex);
  if (global.sink) global.sink(level, text);
}

}  // namespace sluice
