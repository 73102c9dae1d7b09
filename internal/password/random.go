// SPDX-License-Identifier: Apache-2.0

package password

import "crypto/rand"

// Random returns a new password of the given number of characters, at most [MaxBytes]: capital letters and digits of
// five random bits each, which need no quoting anywhere.
func Random(length int) string {
	text := rand.Text()
	for len(text) < length {
		text += rand.Text()
	}
	return text[:min(length, MaxBytes)]
}
