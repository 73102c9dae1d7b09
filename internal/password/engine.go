// SPDX-License-Identifier: Apache-2.0

package password

import (
	"crypto/subtle"
	"fmt"
	"sync"

	reference "golang.org/x/crypto/bcrypt"

	"github.com/sharding-system/shardinguser-operator/internal/bcrypt"
	"github.com/sharding-system/shardinguser-operator/internal/fair"
)

// A job is one computation: a new hash, or a comparison with one.
type job struct {
	plain   []byte
	setting bcrypt.Setting
	hash    string // to compare with; empty for a new hash
	by      fair.Key

	made    string // empty if bcrypt failed
	matches bool
}

func (j *job) cost() int { return j.setting.Cost() }

// An engine computes jobs on the calling goroutine.
type engine struct {
	lanes   int // the most jobs that it takes at once
	queue   int // how many logins may wait for each core
	compute func(batch []*job)
}

// The values of implementation.
const (
	internalBcrypt  = "internal"  // package internal/bcrypt
	referenceBcrypt = "reference" // golang.org/x/crypto/bcrypt
)

// implementation selects the bcrypt of the process. It is set when the program is linked; see package internal/bcrypt.
var implementation = internalBcrypt

// chosen is the engine of every Hasher of the process, chosen once.
var chosen = sync.OnceValues(func() (engine, error) { return choose(implementation, bcrypt.Crypt) })

// choose returns the engine of an implementation. The internal one uses crypt if crypt computes known hashes correctly;
// otherwise choose returns the reference's engine and the reason. It panics if the implementation is unknown.
func choose(implementation string, crypt func([]*bcrypt.Job)) (engine, error) {
	switch implementation {
	case referenceBcrypt:
		return oneByOne(), nil
	case internalBcrypt:
	default:
		panic(fmt.Sprintf("password: there is no bcrypt implementation %q", implementation))
	}
	if err := bcrypt.Verify(crypt); err != nil {
		return oneByOne(), err
	}
	return interleaved(crypt), nil
}

// interleaved computes jobs of one cost side by side. Four of them take at most 1.6 times as long as one, so 40 are
// done in the time of 16 single ones. Crypt is [bcrypt.Crypt] except in tests.
func interleaved(crypt func([]*bcrypt.Job)) engine {
	return engine{lanes: bcrypt.Lanes, queue: 40, compute: func(batch []*job) {
		var lanes []*bcrypt.Job
		for _, j := range batch {
			lanes = append(lanes, &bcrypt.Job{Password: j.plain, Setting: j.setting})
		}
		crypt(lanes)
		for i, j := range batch {
			j.made = lanes[i].Hash
			j.matches = subtle.ConstantTimeCompare([]byte(j.made), []byte(j.hash)) == 1
		}
	}}
}

// oneByOne computes with golang.org/x/crypto/bcrypt, which chooses the salts of new hashes itself.
func oneByOne() engine {
	return engine{lanes: 1, queue: 16, compute: func(batch []*job) {
		for _, j := range batch {
			if j.hash != "" {
				j.matches = reference.CompareHashAndPassword([]byte(j.hash), j.plain) == nil
			} else if made, err := reference.GenerateFromPassword(j.plain, j.cost()); err == nil {
				j.made = string(made)
			}
		}
	}}
}
