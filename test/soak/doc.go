// SPDX-License-Identifier: Apache-2.0

// Command soak lets two replicas of the real bin/manager live through faults of everything around them, on a real API server
// and a real Postgres, under a load of edits and log-ins, and watches all the time that they keep their promises:
//
//	make soak                            # ten minutes
//	make soak DURATION=1m SEED=42        # a minute, with the faults of this seed
//
// What it knows of the truth it knows from itself: which password it set when, what each of its requests was answered, and
// what rows of users and login_attempts looked like after each write, which triggers of its own keep. A [ledger] holds all of
// that and judges it; its tests forge histories in which a promise is broken. The operator is not asked whether it did well.
//
// The plan of faults is drawn from the seed, which is printed. What the machine makes of it (when a lease runs out, which
// replica leads) is not: the same seed plays the same faults in the same order, not the same second.
//
// A run leaves a report in Markdown, the same as JSON, and a picture of what happened when (hack/benchplot/soak) in bin/soak.
// A promise that is broken ends it at once: the report then has the history around that, and the logs are kept.
package main
