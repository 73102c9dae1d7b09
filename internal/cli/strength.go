// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/ccojocar/zxcvbn-go"

	"github.com/sharding-system/shardinguser-operator/internal/password"
)

// strength is zxcvbn's estimate of how hard a password is to guess for an attacker who knows the username.
type strength struct {
	Score     int    `json:"score"` // 0 to 4
	Of        int    `json:"of"`
	Meaning   string `json:"meaning"`
	WellKnown bool   `json:"wellKnown"` // the operator reports WeakPassword
}

var meanings = [...]string{
	"guessed instantly", "guessed quickly", "guessed by a determined attacker", "hard to guess", "very hard to guess",
}

// strengthOf judges a password. Inputs are words that a guesser would begin with, such as the username.
func strengthOf(plain []byte, inputs ...string) strength {
	last := len(meanings) - 1
	s := strength{Of: last, WellKnown: password.WellKnown(plain)}
	if !s.WellKnown {
		s.Score = min(max(0, zxcvbn.PasswordStrength(string(plain), inputs).Score), last)
	}
	s.Meaning = meanings[s.Score]
	return s
}

func (s strength) String() string {
	text := fmt.Sprintf("Strength: %d of %d, %s", s.Score, s.Of, s.Meaning)
	if s.WellKnown {
		text += "; attackers try it first"
	}
	return text
}
