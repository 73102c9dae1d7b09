// SPDX-License-Identifier: Apache-2.0

// Command pause is the process that holds the namespaces of a pod on the node of `make cluster`. It waits until the kubelet
// ends it.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
	<-ended
}
