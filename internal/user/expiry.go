// SPDX-License-Identifier: Apache-2.0

package user

import (
	"time"
)

// leastAge is the minimum age at which a generated password is replaced, even if a policy asks for less: each
// replacement costs a hash.
const leastAge = time.Hour

// maxPasswordAge returns the maximum age of the password, from the resource and the policy that permits it; 0 if
// neither sets one.
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

// PasswordExpiry returns the time until the owner's password expires, zero or less if it has expired. It is unknown if
// there is no maximum age, or if the password is not the owner's.
func (o Observed) PasswordExpiry(d Desired) (left time.Duration, known bool) {
	longest := maxPasswordAge(d)
	if longest == 0 || !o.OwnedBy(d.Owner) || o.Ownership.PasswordChangedAt == nil {
		return 0, false
	}
	return o.Ownership.PasswordChangedAt.Add(longest).Sub(o.Now), true
}

// passwordExpired reports whether the owner's password has expired.
func passwordExpired(d Desired, o Observed) bool {
	left, known := o.PasswordExpiry(d)
	return known && left <= 0
}
