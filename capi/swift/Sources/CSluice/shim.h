/* The whole C ABI, for Swift's importer. */
#ifndef CSLUICE_SHIM_H_
#define CSLUICE_SHIM_H_

#include <sluice.h>
#include <sluice_backend.h>
#include <sluice_tools.h>

#endif /* CSLUICE_SHIM_H_ */
