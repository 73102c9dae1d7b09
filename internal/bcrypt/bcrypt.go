// SPDX-License-Identifier: Apache-2.0

package bcrypt

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
)

// The costs (binary logarithms of the rounds) that bcrypt knows.
const (
	MinCost = 4
	MaxCost = 31
)

// Lanes is the maximum number of hashes that are computed at once.
const Lanes = 4

const (
	saltBytes   = 16
	digestBytes = 23
	// settingBytes is the length of "$2a$10$" and 22 characters of salt.
	settingBytes = 29
	// hashBytes is the length of a setting and 31 characters of digest.
	hashBytes = 60
)

// encoding is base64 with bcrypt's own alphabet.
var encoding = base64.NewEncoding("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789").
	WithPadding(base64.NoPadding)

// A Setting is everything of a hash except the digest: version, cost and salt. The zero value is invalid.
type Setting struct {
	text string // the beginning of the hash
	cost int
	salt [saltBytes]byte
}

// NewSetting returns a Setting of version $2a$, the given cost and a new random salt. It panics if cost is not from
// [MinCost] to [MaxCost].
func NewSetting(cost int) Setting {
	if cost < MinCost || cost > MaxCost {
		panic(fmt.Sprintf("bcrypt: cost %d is not from %d to %d", cost, MinCost, MaxCost))
	}
	s := Setting{cost: cost}
	_, _ = rand.Read(s.salt[:]) // never fails: without randomness crypto/rand ends the process
	s.text = fmt.Sprintf("$2a$%02d$%s", cost, encoding.EncodeToString(s.salt[:]))
	return s
}

// errHash contains no part of the hash.
var errHash = errors.New("not a bcrypt hash of version $2a$, $2b$ or $2y$")

// Parse returns the Setting of a whole hash of version $2a$, $2b$ or $2y$, which are equivalent for passwords of up to
// 72 bytes without NUL. It does not check the digest.
func Parse(hash string) (Setting, error) {
	if len(hash) != hashBytes || hash[:2] != "$2" || hash[3] != '$' || hash[6] != '$' {
		return Setting{}, errHash
	}
	switch hash[2] {
	case 'a', 'b', 'y':
	default:
		return Setting{}, errHash
	}
	cost, err := strconv.ParseUint(hash[4:6], 10, 8) // accepts no sign
	if err != nil || cost < MinCost || cost > MaxCost {
		return Setting{}, errHash
	}
	s := Setting{text: hash[:settingBytes], cost: int(cost)}
	salt, err := encoding.DecodeString(s.text[7:])
	if err != nil || len(salt) != saltBytes { // shorter if it contained newlines, which base64 skips
		return Setting{}, errHash
	}
	copy(s.salt[:], salt)
	return s, nil
}

// Cost returns the binary logarithm of the number of rounds.
func (s Setting) Cost() int { return s.cost }

// A Job is one hash to compute.
type Job struct {
	// Password is read up to its 72nd byte, including NULs. Callers have to reject longer passwords and NULs.
	Password []byte
	Setting  Setting
	// Hash is the result.
	Hash string
}

// Crypt computes the hashes of 1 to [Lanes] jobs of one cost side by side. It panics for another number of jobs, and
// for different costs.
func Crypt(jobs []*Job) {
	if len(jobs) < 1 || len(jobs) > Lanes {
		panic(fmt.Sprintf("bcrypt: %d jobs at once", len(jobs)))
	}
	cost := jobs[0].Setting.cost
	var l lanes
	for i, job := range jobs {
		if job.Setting.cost != cost || cost < MinCost {
			panic("bcrypt: jobs without a setting, or of different costs")
		}
		l[i].begin(job.Password, job.Setting.salt)
	}
	l.run(len(jobs), cost)
	for i, job := range jobs {
		digest := l[i].end()
		job.Hash = job.Setting.text + encoding.EncodeToString(digest[:])
	}
}
