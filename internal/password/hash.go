// SPDX-License-Identifier: Apache-2.0

package password

import (
	"errors"
	"fmt"
	"strconv"
)

// The costs (binary logarithms of bcrypt's rounds) of created and accepted hashes. Below, a hash is too fast to guess;
// above, one login would use a core for seconds.
const (
	MinCost = 10
	MaxCost = 14
)

// ErrHash is wrapped by every error of [CheckHash].
var ErrHash = errors.New("the password hash is invalid")

// hashBytes is the length of a bcrypt hash: "$2a$10$", 22 characters of salt and 31 of digest.
const hashBytes = 60

// CheckHash checks that hash is a bcrypt hash that can be stored and compared: prefix $2a$, $2b$ or $2y$, a cost from
// [MinCost] to [MaxCost] in two digits, and 60 characters of bcrypt's alphabet. The error says what the value looks
// like if that helps. It computes no hash, so no input makes it slow.
func CheckHash(hash string) error {
	err := checkHash(hash, MinCost)
	if err == nil {
		return nil
	}
	if looks := lookOfHash(hash); looks != "" {
		return fmt.Errorf("%w; it %s", err, looks)
	}
	return err
}

// checkHash is CheckHash with another lower limit, for fast tests.
func checkHash(hash string, minCost int) error {
	// The scheme precedes the length, because it shows that another program made the hash.
	if len(hash) < 4 || hash[0] != '$' || hash[1] != '2' || hash[3] != '$' {
		return fmt.Errorf("%w: it is not a bcrypt hash, which starts with $2a$, $2b$ or $2y$", ErrHash)
	}
	switch hash[2] {
	case 'a', 'b', 'y':
	case 'x':
		return fmt.Errorf("%w: $2x$ marks hashes of a faulty implementation; create a new one that starts with $2b$", ErrHash)
	default:
		return fmt.Errorf("%w: it is not a bcrypt hash, which starts with $2a$, $2b$ or $2y$", ErrHash)
	}
	if len(hash) != hashBytes {
		return fmt.Errorf("%w: a bcrypt hash has exactly 60 characters, with nothing around it", ErrHash)
	}
	if !isDigit(hash[4]) || !isDigit(hash[5]) || hash[6] != '$' {
		return fmt.Errorf("%w: its cost is not two digits followed by $", ErrHash)
	}
	cost, err := strconv.Atoi(hash[4:6])
	if err != nil || cost < minCost || cost > MaxCost {
		return fmt.Errorf("%w: its cost must be from %d to %d", ErrHash, minCost, MaxCost)
	}
	for i := 7; i < len(hash); i++ {
		if !isBase64(hash[i]) {
			return fmt.Errorf("%w: after its cost it may contain only letters, digits, '.' and '/'", ErrHash)
		}
	}
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isBase64 reports whether c is in bcrypt's alphabet, which has '.' instead of '+' and no padding.
func isBase64(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '.' || c == '/'
}
