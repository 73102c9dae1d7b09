// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// trail answers with one of these numbers after the other, then always with 0; -1 is an error.
type trail struct {
	answers []int
	asked   []time.Duration // since the beginning
	begin   time.Time
}

func (a *trail) PurgeAttempts(_ context.Context, olderThan time.Duration, batch int) (int, error) {
	a.asked = append(a.asked, time.Since(a.begin))
	if olderThan != time.Hour || batch != purgeBatch || len(a.answers) == 0 {
		return 0, nil
	}
	answer := a.answers[0]
	a.answers = a.answers[1:]
	if answer < 0 {
		return 0, errors.New("a defect")
	}
	return answer, nil
}

func TestOldAttemptsAreDeletedInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &trail{answers: []int{purgeBatch, purgeBatch, 7, -1}, begin: time.Now()}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- Retention{Trail: a, Keep: time.Hour, Log: slog.New(slog.DiscardHandler)}.Run(ctx) }()
		<-time.After(3*purgeEvery - time.Second)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		want := []time.Duration{0, purgePause, 2 * purgePause, 2*purgePause + purgeEvery, 2*purgePause + 2*purgeEvery}
		if !slices.Equal(a.asked, want) {
			t.Errorf("asked after %v, want %v", a.asked, want)
		}
	})
}
