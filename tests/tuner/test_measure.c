/* test_measure.c: timing against a clock that the test moves: iterations grow until a sample is long enough, subjects
 * take turns, hopeless ones are dropped, a deadline ends the rounds, and the statistics are those of the samples. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tuner/measure.h"

/* A machine of which everything is known: each subject costs so many seconds an iteration; `log` has the order of the
 * samples. */
typedef struct machine {
    double time;
    char log[256];
} machine;

typedef struct subject {
    machine *machine;
    double cost, drift; /* seconds an iteration, and how much more each sample */
    char letter;
    int64_t iterations; /* of the last sample */
    int ready, runs, fail_at;
} subject;

static double machine_now(void *context) {
    return ((machine *)context)->time;
}

static bool subject_run(void *context, int64_t iterations, err *e) {
    subject *s = context;
    s->runs++;
    s->iterations = iterations;
    if (s->fail_at && s->runs >= s->fail_at)
        return err_set(e, ERR_DEVICE, "test", "it broke");
    s->machine->time += s->cost * (double)iterations;
    s->cost += s->drift;
    size_t length = strlen(s->machine->log);
    if (length + 1 < sizeof s->machine->log)
        s->machine->log[length] = s->letter;
    return true;
}

static bool subject_ready(void *context, int64_t iterations, err *e) {
    (void)iterations;
    (void)e;
    subject *s = context;
    s->ready++;
    s->machine->time += 100; /* must not count */
    return true;
}

static tune_measure_options options_of(machine *m, int rounds) {
    return (tune_measure_options){.clock = {machine_now, m}, .sample_seconds = 1e-3, .rounds = rounds};
}

static void test_iterations_grow(void **state) {
    (void)state;
    machine m = {0};
    subject s = {.machine = &m, .cost = 1e-7, .letter = 'a'};
    tune_subject subjects[] = {{.run = subject_run, .ready = subject_ready, .context = &s}};
    tune_measure_options o = options_of(&m, 7);
    tune_samples samples;
    err e = {0};
    assert_true(tune_measure(subjects, 1, &o, &samples, &e));
    assert_int_equal(samples.count, 7);
    assert_true(samples.iterations * 1e-7 >= 1e-3);
    assert_true(samples.iterations * 1e-7 < 3e-3);
    assert_int_equal(s.ready, s.runs);
    for (int i = 0; i < 7; i++)
        assert_true(fabs(samples.us[i] - 0.1) < 1e-6);
    assert_true(tune_noise(&samples) < 1e-6);

    o.max_iterations = 10;
    assert_true(tune_measure(subjects, 1, &o, &samples, &e));
    assert_int_equal(samples.iterations, 10);

    o.max_iterations = 0;
    subjects[0].multiple = 77;
    assert_true(tune_measure(subjects, 1, &o, &samples, &e));
    assert_int_equal(samples.iterations % 77, 0);
    assert_true(samples.iterations * 1e-7 >= 1e-3);
    s.cost = 1; /* long enough at once: all 77 all the same */
    assert_true(tune_measure(subjects, 1, &o, &samples, &e));
    assert_int_equal(samples.iterations, 77);
    assert_int_equal(s.iterations, 77);
}

static void test_turns(void **state) {
    (void)state;
    machine m = {0};
    subject s[3];
    tune_subject subjects[3];
    for (int i = 0; i < 3; i++) {
        s[i] = (subject){.machine = &m, .cost = 1, .letter = (char)('a' + i)};
        subjects[i] = (tune_subject){.run = subject_run, .context = &s[i]};
    }
    tune_measure_options o = options_of(&m, 3);
    tune_samples samples[3];
    err e = {0};
    assert_true(tune_measure(subjects, 3, &o, samples, &e));
    assert_string_equal(m.log, "abc"
                               "abc"
                               "cba"
                               "abc"); /* one each to settle the iterations, then the rounds */
}

static void test_give_up(void **state) {
    (void)state;
    machine m = {0};
    subject fast = {.machine = &m, .cost = 1, .letter = 'a'}, slow = {.machine = &m, .cost = 3, .letter = 'b'};
    tune_subject subjects[] = {{.run = subject_run, .context = &fast}, {.run = subject_run, .context = &slow}};
    tune_measure_options o = options_of(&m, 6);
    o.give_up = 2;
    tune_samples samples[2];
    err e = {0};
    assert_true(tune_measure(subjects, 2, &o, samples, &e));
    assert_int_equal(samples[0].count, 6);
    assert_int_equal(samples[1].count, 2);
    double noise = 1;
    assert_true(fabs(tune_paired(&samples[1], &samples[0], &noise) - 3) < 1e-9);
    assert_true(noise < 1e-9);
}

static void test_deadline(void **state) {
    (void)state;
    machine m = {0};
    subject s = {.machine = &m, .cost = 1, .letter = 'a'};
    tune_subject subjects[] = {{.run = subject_run, .context = &s}};
    tune_measure_options o = options_of(&m, 50);
    tune_samples samples;
    err e = {0};
    o.deadline = 4.5; /* 1 s to settle; rounds begin at 1, 2, 3, 4 */
    assert_true(tune_measure(subjects, 1, &o, &samples, &e));
    assert_int_equal(samples.count, 4);
    o.deadline = 1; /* long past: the first round is measured all the same */
    assert_true(tune_measure(subjects, 1, &o, &samples, &e));
    assert_int_equal(samples.count, 1);
    o.rounds_least = 5;
    assert_true(tune_measure(subjects, 1, &o, &samples, &e));
    assert_int_equal(samples.count, 5);
}

static void test_failure(void **state) {
    (void)state;
    machine m = {0};
    for (int at = 1; at <= 4; at++) {
        subject s = {.machine = &m, .cost = 1, .letter = 'a', .fail_at = at};
        tune_subject subjects[] = {{.run = subject_run, .context = &s}};
        tune_measure_options o = options_of(&m, 3);
        tune_samples samples;
        err e = {0};
        assert_false(tune_measure(subjects, 1, &o, &samples, &e));
        assert_int_equal(e.code, ERR_DEVICE);
        err_clear(&e);
    }
}

static void test_drift_is_paired(void **state) {
    (void)state;
    machine m = {0};
    /* Both get 10% slower with each sample: the medians tell little, the ratio stays what it is. */
    subject a = {.machine = &m, .cost = 1, .drift = 0.1, .letter = 'a'},
            b = {.machine = &m, .cost = 2, .drift = 0.2, .letter = 'b'};
    tune_subject subjects[] = {{.run = subject_run, .context = &a}, {.run = subject_run, .context = &b}};
    tune_measure_options o = options_of(&m, 9);
    tune_samples samples[2];
    err e = {0};
    assert_true(tune_measure(subjects, 2, &o, samples, &e));
    assert_true(fabs(tune_paired(&samples[1], &samples[0], NULL) - 2) < 1e-9);
    assert_true(tune_max(&samples[0]) > 1.5 * tune_min(&samples[0]));
}

static void test_statistics(void **state) {
    (void)state;
    tune_samples s = {.us = {5, 1, 4, 2, 100}, .count = 5};
    assert_true(tune_median(&s) == 4);
    assert_true(tune_min(&s) == 1);
    assert_true(tune_max(&s) == 100);
    /* Deviations from 4: 1 3 0 2 96; their median is 2. */
    assert_true(fabs(tune_noise(&s) - 1.2533 * 1.4826 * 2 / (4 * sqrt(5))) < 1e-12);
    s.count = 4;
    assert_true(tune_median(&s) == 3);
    s.count = 1;
    assert_true(tune_noise(&s) == 1);
    s.count = 0;
    assert_true(tune_median(&s) == 0 && tune_min(&s) == 0 && tune_max(&s) == 0 && tune_paired(&s, &s, NULL) == 0);
}

static void test_real_clock(void **state) {
    (void)state;
    tune_clock clock = tune_clock_monotonic();
    double before = clock.now(clock.context), after = before;
    for (int i = 0; i < 1000000 && after == before; i++)
        after = clock.now(clock.context);
    assert_true(after > before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_iterations_grow), cmocka_unit_test(test_turns),
        cmocka_unit_test(test_give_up),         cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_failure),         cmocka_unit_test(test_drift_is_paired),
        cmocka_unit_test(test_statistics),      cmocka_unit_test(test_real_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
