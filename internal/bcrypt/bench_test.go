// SPDX-License-Identifier: Apache-2.0

package bcrypt

import (
	"fmt"
	"testing"

	reference "golang.org/x/crypto/bcrypt"
)

// BenchmarkHash reports the hashes per second of one core, for the reference and for each number of lanes.
func BenchmarkHash(b *testing.B) {
	const cost = 10
	password := []byte("correct horse battery staple")
	report := func(b *testing.B, n int) {
		b.Helper()
		b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "hashes/s")
	}
	b.Run("reference", func(b *testing.B) {
		for b.Loop() {
			if _, err := reference.GenerateFromPassword(password, cost); err != nil {
				b.Fatal(err)
			}
		}
		report(b, 1)
	})
	for n := 1; n <= Lanes; n++ {
		b.Run(fmt.Sprintf("lanes=%d", n), func(b *testing.B) {
			var jobs []*Job
			for range n {
				jobs = append(jobs, &Job{Password: password, Setting: NewSetting(cost)})
			}
			for b.Loop() {
				Crypt(jobs)
			}
			report(b, n)
		})
	}
}
