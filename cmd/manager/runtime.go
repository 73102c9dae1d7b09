// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// garbagePercent replaces the default of GOGC, 100. Most of the heap, the caches of resources and rows, lives as long as the
// process. A third more collections cost a request of a gateway a few percent.
const garbagePercent = 70

// keepSmall limits the garbage on the heap, unless GOGC is set.
func keepSmall() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbagePercent)
	}
}

// spareThreads raises GOMAXPROCS above the number of hashing cores. A hash takes 100 ms or more. While each of Go's threads
// computes one, every goroutine that becomes runnable waits for 10 ms; the kernel shares the cores more fairly. GOMAXPROCS
// stays if it is set, and if there is a CPU limit, which more threads would only reach sooner.
func spareThreads(hashCores int) {
	threads := runtime.GOMAXPROCS(0)
	if os.Getenv("GOMAXPROCS") == "" && threads == runtime.NumCPU() && hashCores >= threads {
		runtime.GOMAXPROCS(threads + 2)
	}
}
