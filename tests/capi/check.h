/* What the C tests share: checks that count, and the pieces of the program. */
#ifndef SLUICE_TESTS_CAPI_CHECK_H_
#define SLUICE_TESTS_CAPI_CHECK_H_

#include <sluice_backend.h>
#include <sluice_tools.h>

/* Counts and prints; the test goes on. */
void check_true(int ok, const char* what, const char* file, int line);
/* A failure must come with a message, a success without one. */
void check_status(sluice_status got, sluice_status expected, const char* what, const char* file,
                  int line);
#define CHECK(condition) check_true(!!(condition), #condition, __FILE__, __LINE__)
#define CHECK_STATUS(call, expected) check_status((call), (expected), #call, __FILE__, __LINE__)

int failures(void);

/* The model that the tests use, opened with room for `sessions`; ends the program on failure. */
sluice_model* open_model(const char* path, uint32_t sessions);
sluice_session* create_session(sluice_model* model);

/* A copy of `path` cut to `bytes` of its bytes (0: all), with `flips` of them turned over, one in
 * each of as many equal parts. */
void write_copy(const char* path, const char* copy, long bytes, long flips);

void sleep_ms(unsigned ms);
double now_ms(void);

/* Each takes the path of the model file. */
void test_library(void);
void test_layout(void);
void test_options(const char* path);
void test_model(const char* path);
void test_damaged_model(const char* path);
void test_session(const char* path);
void test_source(const char* path);
void test_generate(const char* path);
void test_session_life(const char* path);
void test_misuse(const char* path);
void test_threads(const char* path);
void test_cancel(const char* path);
void test_backend(const char* path);
void test_backend_hints(const char* path); /* of a model with predictors */
void test_async(const char* path);
void test_tools(const char* path);

#endif /* SLUICE_TESTS_CAPI_CHECK_H_ */
