// Ctrl-C ends the work at hand in good order, not the program.
#ifndef SLUICE_EXAMPLES_SLUICE_INTERRUPT_H_
#define SLUICE_EXAMPLES_SLUICE_INTERRUPT_H_

#include "sluice/session.h"

namespace sluice::cli {

// While one of these exists (one at a time), the first SIGINT sets interrupted() and cancels
// `session`, if there is one; a second one ends the program, whatever the device does.
class InterruptScope {
 public:
  explicit InterruptScope(Session* session = nullptr);
  ~InterruptScope();
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

  static bool interrupted();

 private:
  void (*previous_)(int);
};

}  // namespace sluice::cli

#endif  // SLUICE_EXAMPLES_SLUICE_INTERRUPT_H_
