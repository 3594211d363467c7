#include "interrupt.h"

#include <atomic>
#include <csignal>

namespace sluice::cli {
namespace {

std::atomic<Session*> g_session{nullptr};
std::atomic<bool> g_interrupted{false};

void OnInterrupt(int) {
  std::signal(SIGINT, SIG_DFL);
  g_interrupted.store(true);
  Session* session = g_session.load();
  if (session != nullptr) session->Cancel();
}

}  // namespace

InterruptScope::InterruptScope(Session* session) {
  g_session.store(session);
  previous_ = std::signal(SIGINT, OnInterrupt);
}

InterruptScope::~InterruptScope() {
  std::signal(SIGINT, previous_);
  g_session.store(nullptr);
}

bool InterruptScope::interrupted() { return g_interrupted.load(); }

}  // namespace sluice::cli
