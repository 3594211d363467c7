#include "lib/model/lookahead_gain.h"

#include "tests/support/catch.h"

namespace sluice {
namespace {

// `count` passes, each as long as time(whether it reads ahead) says.
template <typename Time>
void RunPasses(LookaheadGain* gain, int count, Time time) {
  int64_t now = 0;
  for (int i = 0; i < count; ++i) {
    gain->BeginPassAt(now);
    now += time(gain->on());
    gain->EndPassAt(now);
  }
}

TEST_CASE("reading ahead that makes tokens slower is switched off", "[model]") {
  LookaheadGain gain(true, 2);
  CHECK(gain.on());
  RunPasses(&gain, 40, [](bool on) { return on ? 120 : 100; });
  CHECK(!gain.pays());
  CHECK(!gain.on());
  // Another trial, and now it pays.
  RunPasses(&gain, 600, [](bool on) { return on ? 90 : 100; });
  CHECK(gain.pays());
  CHECK(gain.on());
}

TEST_CASE("reading ahead that pays stays on, whatever a single pass takes", "[model]") {
  LookaheadGain gain(true, 2);
  int i = 0;
  RunPasses(&gain, 40, [&](bool on) { return ++i % 7 == 0 ? 1000 : on ? 80 : 100; });
  CHECK(gain.pays());
}

TEST_CASE("a layer's share follows what is wasted", "[model]") {
  LookaheadGain gain(true, 2);
  CHECK(gain.share(0) == 1);
  for (int i = 0; i < 100; ++i) gain.Learn(0, 10, 5, 5);
  CHECK(gain.share(0) < 0.1);
  CHECK(gain.share(0) > 0);
  CHECK(gain.share(1) == 1);
  for (int i = 0; i < 200; ++i) gain.Learn(0, 10, 10, 5);
  CHECK(gain.share(0) == 1);
  gain.Learn(1, 0, 0, 0);
  CHECK(gain.share(1) == 1);
}

TEST_CASE("what is not enabled never reads ahead", "[model]") {
  LookaheadGain gain(false, 1);
  RunPasses(&gain, 50, [](bool) { return 1; });
  CHECK(!gain.on());
}

}  // namespace
}  // namespace sluice
