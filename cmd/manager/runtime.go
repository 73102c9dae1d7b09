// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// garbagePercent is how much garbage Go lets come together, in percent of what lives, where GOGC does not say. Go's own 100
// is for programs that make more of it: most of what we keep, the copies of resources and rows, lives as long as the process,
// and a third more collections cost a request of a gateway a few percent.
const garbagePercent = 70

// keepSmall limits the garbage in memory.
func keepSmall() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
}

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
