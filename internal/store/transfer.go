// SPDX-License-Identifier: Apache-2.0

package store

import (
	"time"

	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// AliveFor is how long the sign of life of an operator counts. The leader renews it several times in that time.
const AliveFor = time.Minute

// Transfer gives an ownership record to another resource of the same username. Row, hash and lock stay as they are, and so does
// what is recorded about the password.
type Transfer struct {
	Username string
	Revision int64 // of the ownership record that was observed
	To       user.Owner
}
