// SPDX-License-Identifier: Apache-2.0

package password

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	reference "golang.org/x/crypto/bcrypt"

	"github.com/sharding-system/shardinguser-operator/internal/bcrypt"
	"github.com/sharding-system/shardinguser-operator/internal/fair"
)

// BenchmarkLogins reports the logins per second of a number of callers on all cores, with either engine, beside the
// reference on all cores.
func BenchmarkLogins(b *testing.B) {
	hash, err := reference.GenerateFromPassword([]byte("right"), MinCost)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("reference", func(b *testing.B) {
		asOften(b, runtime.GOMAXPROCS(0), func() error {
			return reference.CompareHashAndPassword(hash, []byte("right"))
		})
	})
	for _, callers := range []int{1, 8, 64} {
		for name, e := range map[string]engine{"one by one": oneByOne(), "interleaved": interleaved(bcrypt.Crypt)} {
			b.Run(fmt.Sprintf("%s/callers=%d", name, callers), func(b *testing.B) {
				h := NewHasher(MinCost, runtime.GOMAXPROCS(0))
				h.setEngine(e)
				h.maxReservations = callers
				asOften(b, callers, func() error {
					reservation, err := h.Reserve(fair.Key{})
					if err == nil {
						_, err = reservation.Matches(b.Context(), string(hash), []byte("right"))
					}
					return err
				})
			})
		}
	}
}

// asOften runs a function b.N times, by the given number of callers.
func asOften(b *testing.B, callers int, do func() error) {
	b.Helper()
	turns := make(chan struct{}, b.N)
	for range b.N {
		turns <- struct{}{}
	}
	close(turns)
	b.ResetTimer()
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range turns {
				if err := do(); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "hashes/s")
}
