// The public name of an engine as lib/io knows it.
#ifndef SLUICE_LIB_MODEL_ENGINE_CHOICE_H_
#define SLUICE_LIB_MODEL_ENGINE_CHOICE_H_

#include "lib/io/io_engine.h"
#include "sluice/options.h"

namespace sluice {

inline EngineChoice ChoiceOf(Engine engine) {
  switch (engine) {
    case Engine::kUring:
      return EngineChoice::kUring;
    case Engine::kPread:
      return EngineChoice::kPread;
    case Engine::kAuto:
      break;
  }
  return EngineChoice::kAuto;
}

}  // namespace sluice

#endif  // SLUICE_LIB_MODEL_ENGINE_CHOICE_H_
