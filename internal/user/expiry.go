// SPDX-License-Identifier: Apache-2.0

package user

import (
	"time"
)

// leastAge is the least age at which a generated password is replaced, whatever a policy says: each costs a hash.
const leastAge = time.Hour

// maxPasswordAge is how old the password may become, by the resource and by the policy that permits it; 0 where neither says
// so.
func maxPasswordAge(d Desired) time.Duration {
	own, policy := d.Password.MaxAge, d.Permission.MaxPasswordAge
	longest := min(own, policy)
	if own == 0 || policy == 0 {
		longest = max(own, policy)
	}
	if d.Password.Generated && longest > 0 {
		return max(longest, leastAge)
	}
	return longest
}

// PasswordExpiry is the time until the owner's password is as old as it may become, zero or less where it is already. It
// is not known where there is no such age, or where the password is not the owner's.
func (o Observed) PasswordExpiry(d Desired) (left time.Duration, known bool) {
	longest := maxPasswordAge(d)
	if longest == 0 || !o.OwnedBy(d.Owner) || o.Ownership.PasswordChangedAt == nil {
		return 0, false
	}
	return o.Ownership.PasswordChangedAt.Add(longest).Sub(o.Now), true
}

// passwordExpired tells whether the owner's password is older than it may be.
func passwordExpired(d Desired, o Observed) bool {
	left, known := o.PasswordExpiry(d)
	return known && left <= 0
}
