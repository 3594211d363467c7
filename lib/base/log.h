// Where the library's few remarks go: to the host's callback or nowhere. The library itself
// never writes to stdout or stderr.
#ifndef SLUICE_LIB_BASE_LOG_H_
#define SLUICE_LIB_BASE_LOG_H_

#include <functional>

#include "absl/strings/string_view.h"

namespace sluice {

enum class LogLevel { kInfo = 0, kWarning = 1 };
using LogSink = std::function<void(LogLevel, absl::string_view)>;

// Replaces the sink for the whole process; an empty one drops everything. Any thread. The sink
// runs on the thread that has something to say, one call at a time, and must not call back.
void SetLogSink(LogSink sink);

void Log(LogLevel level, absl::string_view text);

}  // namespace sluice

#endif  // SLUICE_LIB_BASE_LOG_H_
