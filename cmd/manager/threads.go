// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
)

// spareThreads lets Go run more at once than hashing may take. A hash computes for a tenth of a second and longer, and while
// each of Go's threads has one, whatever an answer or a notification wakes waits for 10 ms, at each step of its way. The
// kernel shares cores better than that. It is left as it is where somebody set it, or where there is a limit on the CPU, which
// more threads would only reach sooner.
func spareThreads(hashCores int) {
	threads := runtime.GOMAXPROCS(0)
	if os.Getenv("GOMAXPROCS") == "" && threads == runtime.NumCPU() && hashCores >= threads {
		runtime.GOMAXPROCS(threads + 2)
	}
}
