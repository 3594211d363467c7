/* Signals as something to poll() beside the keyboard. A handler only notes the signal in a pipe: it
 * may run on any thread, those of Sluice included. */
#ifndef CHAT_SIGNALS_H_
#define CHAT_SIGNALS_H_

/* SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP and SIGWINCH from now on; SIGPIPE is ignored, so that a
 * failing write says so. A descriptor that is readable when there is a signal to take, or -1. */
int signals_open(void);

/* The next signal that came, or 0. */
int signals_take(void);

/* Stops the program as Ctrl-Z does, until it is continued. */
void signals_stop(void);

/* Ends the program as `number` does by default. */
void signals_die(int number);

#endif /* CHAT_SIGNALS_H_ */
