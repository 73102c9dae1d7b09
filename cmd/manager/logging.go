// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"strconv"
)

// mostVerbose is the highest level of detail that the manager logs. Above it, client-go prints the bodies of requests and
// responses, which contain the data of Secrets.
const mostVerbose = 7

// limitVerbosity lowers the value of the flag --zap-log-level to mostVerbose if it is higher.
func limitVerbosity(level flag.Value) error {
	given, err := strconv.Atoi(level.String())
	if err != nil || given <= mostVerbose {
		return nil //nolint:nilerr // no named level is that high
	}
	if err := level.Set(strconv.Itoa(mostVerbose)); err != nil {
		return fmt.Errorf("limit the level of detail of the log: %w", err)
	}
	return nil
}
