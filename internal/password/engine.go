// SPDX-License-Identifier: Apache-2.0

package password

import (
	"crypto/subtle"
	"sync"

	reference "golang.org/x/crypto/bcrypt"

	"github.com/sharding-system/shardinguser-operator/internal/bcrypt"
	"github.com/sharding-system/shardinguser-operator/internal/fair"
)

// A job is one computation: of a new hash, or of a comparison with one.
type job struct {
	plain   []byte
	setting bcrypt.Setting
	hash    string // to compare with; empty where one is to be made
	by      fair.Key

	made    string // empty where bcrypt could not
	matches bool
}

func (j *job) cost() int { return j.setting.Cost() }

// An engine computes jobs on the core that it is called on.
type engine struct {
	lanes   int // how many jobs it takes at once at the most
	queue   int // how many log-ins may wait for each core
	compute func(batch []*job)
}

// verified is the engine of every Hasher of the process. It is chosen once, at the
// first of them.
var verified = sync.OnceValues(func() (engine, error) { return choose(bcrypt.Crypt) })

// choose returns the engine that computes by crypt if it gets known hashes right.
// Else it returns the reference's, and says why.
func choose(crypt func([]*bcrypt.Job)) (engine, error) {
	if err := bcrypt.Verify(crypt); err != nil {
		return oneByOne(), err
	}
	return interleaved(crypt), nil
}

// interleaved computes jobs of one cost side by side, by [bcrypt.Crypt] but in
// tests. Four of them take at most 1.6 times as long as one, so that in the time
// of sixteen single ones forty are done.
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

// oneByOne computes by golang.org/x/crypto/bcrypt, which chooses the salts of new
// hashes itself.
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
