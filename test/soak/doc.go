// SPDX-License-Identifier: Apache-2.0

// Command soak runs two replicas of bin/manager through faults of everything around them, on a real API server and a
// real Postgres, under a load of edits and logins. All the time it checks that they keep their promises:
//
//	make soak                            # ten minutes
//	make soak DURATION=1m SEED=42        # a minute, with the faults of this seed
//
// It relies only on its own knowledge: which password it set when, the response to each of its requests, and the rows
// of users and login_attempts after each write, which its own triggers record. A [ledger] holds all of that and judges
// it; its tests forge histories in which a promise is broken. The operator is not asked.
//
// The plan of faults comes from the seed, which is printed. The same seed repeats the same faults in the same order,
// but not the machine's timing, such as when a lease expires and which replica leads.
//
// A run leaves a report in Markdown, the same as JSON, and a picture of the events (hack/benchplot/soak) in bin/soak. A
// broken promise ends the run: the report then has the history around it, and the logs are kept.
package main
