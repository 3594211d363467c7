/* Goes on with a text, through the C ABI.
 *
 *   generate_c MODEL.flash "The old woman opened the door and"
 *
 * Build it against an installed copy: cc generate.c $(pkg-config --cflags --libs sluice) */
#include <sluice.h>

#include <stdio.h>
#include <string.h>

static int32_t print_text(int32_t token, const char* text, size_t text_bytes, void* user_data) {
  (void)token;
  fwrite(text, 1, text_bytes, (FILE*)user_data);
  return fflush((FILE*)user_data) != 0; /* nonzero stops: nobody listens any more */
}

static int generate(sluice_session* session, const char* prompt) {
  sluice_generate_options options;
  int32_t finish_reason = 0;
  sluice_generate_options_init(&options, sizeof options);
  options.max_tokens = 60;
  if (sluice_session_generate(session, prompt, strlen(prompt), &options, &finish_reason,
                              print_text, stdout) != SLUICE_OK) {
    return 0;
  }
  printf("\n");
  return 1;
}

int main(int argc, char** argv) {
  sluice_model_options options;
  sluice_model* model = NULL;
  sluice_session* session = NULL;
  int ok = 0;
  if (argc != 3) {
    fprintf(stderr, "usage: %s MODEL PROMPT\n", argv[0]);
    return 2;
  }
  sluice_model_options_init(&options, sizeof options);
  options.context_tokens = 256;
  ok = sluice_model_open(argv[1], &options, &model) == SLUICE_OK &&
       sluice_session_create(model, &session) == SLUICE_OK && generate(session, argv[2]);
  if (!ok) fprintf(stderr, "%s: %s\n", argv[0], sluice_last_error_message());
  sluice_session_close(session);
  sluice_model_close(model);
  return ok ? 0 : 1;
}
