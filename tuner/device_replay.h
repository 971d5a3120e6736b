/* device_replay.h: a finished journal as a device. Candidates are what was recorded, statuses and samples too; time is
 * a clock of its own that passes by recorded microseconds, so that searches can be compared anywhere, without timing.
 */
#ifndef TUNER_DEVICE_REPLAY_H
#define TUNER_DEVICE_REPLAY_H

#include "tuner/device.h"
#include "tuner/journal.h"
#include "tuner/space.h"

/* `journal` outlives the device. Its threads and arch are the recording's. A runner gives back the recorded samples of
 * its candidate, in turn, each as a ratio to the default of its round times what the default took on the whole: of the
 * stage whose shape is nearest to the workload's (beside a later stage those of the first impression too), scaled by
 * the number of tokens. A candidate costs the seconds that were recorded for compiling and verifying it. Not
 * thread-safe: jobs = 1. Errors: ERR_INPUT where the journal does not say where it comes from, or this nhac does not
 * know its arch; ERR_MEMORY. */
bool tune_replay_open(const tune_journal *journal, tune_device **device, err *e);
/* Seconds that have passed on the device. */
tune_clock tune_replay_clock(const tune_device *device);

/* The recorded candidates of an op, as tune_space_open gives those of a generator: [0] is the default that was
 * recorded, the others shuffled the same way each time. Needs the journal alone, whatever the space files say today.
 * `first`: the tile that stands for the default instead, to see how a search does from there; NULL: none. Errors:
 * ERR_INPUT for an op without a default, or a knob that this nhac does not know; ERR_MEMORY. */
bool tune_replay_space(const tune_device *device, const gen_problem *problem, nha_op op, const char *first,
                       tune_space *space, err *e);

/* The time of a candidate relative to the recorded default: the worst of its stages, which were measured independently:
 * whoever is chosen was chosen for being lucky in one of them. 1 for that default, 0: it was not timed. */
double tune_replay_ratio(const tune_device *device, nha_op op, const char *tile, const gen_shape *shape);

#endif
