// SPDX-License-Identifier: Apache-2.0

package login

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/store"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

// Attempts charges and settles attempts. Package store says what is promised.
type Attempts interface {
	Charge(ctx context.Context, attempt store.Attempt, limits store.Limits) (store.Charge, error)
	Settle(ctx context.Context, charged store.Charge, success bool) (accepted bool, err error)
}

// Accounts looks an account up. It is asked on every request of a gateway.
type Accounts interface {
	Observe(ctx context.Context, username string) (user.Observed, error)
}

// Options is what a Service works with and by.
type Options struct {
	Attempts Attempts
	Accounts Accounts
	Hasher   *password.Hasher
	Limits   store.Limits

	// Tokens issues and checks tokens; nil where there is no secret to sign with.
	Tokens *Tokens

	// RecognizeFor is how long credentials that passed are recognised without bcrypt; 0 is never.
	RecognizeFor time.Duration

	// SourceRate is the attempts a second that one address may make, and SourceBurst how many at once. A rate of 0 is
	// no limit, and one below 0 (config.Auto) is half of what the hashing cores compute one by one.
	SourceRate  int
	SourceBurst int

	Registry prometheus.Registerer
	Log      *slog.Logger
	Now      func() time.Time
}

// storeTimeout bounds a charge, and a settlement. It is longer than the database's own time-out for a statement.
const storeTimeout = 10 * time.Second

// Service decides attempts. It may be used by any number of goroutines.
type Service struct {
	Options
	aliases  *password.Fingerprinter
	queue    *queue
	throttle *throttle
	refusals *throttle
	known    *recognized // nil where nothing is
	metrics  *metrics

	settling sync.WaitGroup
}

// New returns a Service. The error is that of metrics that are there already.
func New(options Options) (*Service, error) {
	metrics, err := newMetrics(options.Registry)
	if err != nil {
		return nil, err
	}
	return &Service{
		Options:  options,
		aliases:  password.NewFingerprinter(),
		queue:    newQueue(options.Hasher.Cores(), options.Hasher.MaxReservations()),
		throttle: newThrottle(options.rate(), options.SourceBurst),
		refusals: newThrottle(options.refusalRate(), refusalBurst),
		known:    newRecognized(options.RecognizeFor),
		metrics:  metrics,
	}, nil
}

// rate returns the attempts a second that one address may make, as of now; it returns nil for any number.
func (o Options) rate() func() rate.Limit {
	switch {
	case o.SourceRate == 0:
		return nil
	case o.SourceRate > 0:
		return func() rate.Limit { return rate.Limit(o.SourceRate) }
	}
	return func() rate.Limit { return rate.Limit(max(1, o.Hasher.PerSecond()/2)) }
}

// refusalRate returns the refusals a second that one address gets before its connections are held; it returns nil for any
// number.
func (o Options) refusalRate() func() rate.Limit {
	if o.SourceRate == 0 {
		return nil
	}
	return func() rate.Limit { return rate.Limit(refusalsPerCore * o.Hasher.Cores()) }
}

// Credentials is what a client shows, and what is known of the client.
type Credentials struct {
	Username  string
	Password  string
	Source    netip.Addr
	UserAgent string
}

// Outcome says how an attempt ended, for logs and metrics. Clients see less of it.
type Outcome string

const (
	// Succeeded: the right password of an account that is active and not locked.
	Succeeded Outcome = "success"

	// Failed: a wrong password, or no usable hash to compare with.
	Failed Outcome = "failed"

	// Unknown: no such account. To the client it is what Failed is, and so are the next three.
	Unknown Outcome = "unknown"

	// Locked: the account is locked; nothing was checked.
	Locked Outcome = "locked"

	// Inactive: the account is not active; nothing was checked.
	Inactive Outcome = "inactive"

	// Superseded: the right password, but the account was changed meanwhile.
	Superseded Outcome = "superseded"

	// Busy: more log-ins than the cores can serve; nothing was charged.
	Busy Outcome = "busy"

	// Throttled: more log-ins than one address may make; nothing was charged.
	Throttled Outcome = "throttled"

	// Abandoned: the client hung up while it waited in line; nothing was charged.
	Abandoned Outcome = "abandoned"

	// Unavailable: there is no store to decide from. If it went away in mid-attempt, the attempt is charged.
	Unavailable Outcome = "unavailable"
)

var outcomes = []Outcome{Succeeded, Failed, Unknown, Locked, Inactive, Superseded, Busy, Throttled, Abandoned, Unavailable}

// Result is how an attempt ended.
type Result struct {
	Outcome Outcome

	// Of the account, with Succeeded only.
	Username string
	Roles    []string
	hash     string

	RetryAfter time.Duration // with Busy and Throttled

	fromMemory bool // it was decided while the database was away
}

// Wait ends the waiting in line, for the process is about to end, and returns when all that was charged is settled.
func (s *Service) Wait() {
	s.queue.close()
	s.settling.Wait()
}

// LogIn makes one attempt.
func (s *Service) LogIn(ctx context.Context, c Credentials) Result {
	return s.attempt(ctx, c, false)
}

// Verify is LogIn, but for credentials that passed lately, which it recognises.
func (s *Service) Verify(ctx context.Context, c Credentials) Result {
	if result, ok := s.recognize(ctx, c); ok {
		return result
	}
	return s.attempt(ctx, c, true)
}

// attempt makes one attempt and tells of it. With verify, it recognises what passed while it waited in line.
func (s *Service) attempt(ctx context.Context, c Credentials, verify bool) Result {
	begun := s.Now()
	digest := s.aliases.Of([]byte(c.Username))
	attempt := store.Attempt{
		Username:  c.Username,
		Alias:     fmt.Sprintf("hmac:%x", digest[:6]),
		Source:    c.Source.String(),
		UserAgent: c.UserAgent,
	}
	exists := false // as far as is known
	result := func() Result {
		if delay, ok := s.throttle.take(c.Source, begun); !ok {
			return Result{Outcome: Throttled, RetryAfter: delay}
		}
		e := entrant{source: c.Source, account: digest}
		if verify {
			e.credentials = s.known.fingerprint(c)
		}
		turn, err := s.queue.enter(ctx, e)
		if err != nil {
			return notDecided(err)
		}
		defer turn.leave()
		if verify {
			if result, ok := s.recognize(ctx, c); ok {
				return result
			}
		}
		var result Result
		result, exists = s.decide(ctx, c, e, attempt)
		return result
	}()
	took := s.Now().Sub(begun)
	s.metrics.attempt(result, took)
	record := attempt.Record(exists)
	attributes := []slog.Attr{
		slog.String("outcome", string(result.Outcome)),
		slog.String("user", record.Username),
		slog.String("source", record.Source),
		slog.String("userAgent", record.UserAgent),
		slog.Duration("took", took),
	}
	if result.fromMemory {
		attributes = append(attributes, slog.Bool("fallback", true))
	}
	s.Log.LogAttrs(ctx, level(result.Outcome), "Login attempt", attributes...)
	return result
}

// notDecided is the result of an attempt that came to nothing before it was charged.
func notDecided(err error) Result {
	switch {
	case errors.Is(err, password.ErrBusy):
		return Result{Outcome: Busy, RetryAfter: time.Second}
	case errors.Is(err, errClosed):
		return Result{Outcome: Unavailable}
	}
	return Result{Outcome: Abandoned}
}

// level keeps out of the log what any client can make any amount of.
func level(o Outcome) slog.Level {
	switch o {
	case Throttled, Busy, Abandoned:
		return slog.LevelDebug
	default:
		return slog.LevelInfo
	}
}

// decide charges, checks and settles. It tells, too, whether there is such an account. A failure is settled when the
// answer is on its way already, since a refusal without a charge has nothing to settle and would be the quicker one.
func (s *Service) decide(ctx context.Context, c Credentials, e entrant, attempt store.Attempt) (result Result, exists bool) {
	place, err := s.Hasher.Reserve(e.key())
	if err != nil {
		return notDecided(err), false
	}
	defer place.Release()

	// From here on the attempt is seen through, whether or not the client waits; the process does.
	if !s.queue.holdOpen(&s.settling) {
		return notDecided(errClosed), false
	}
	defer s.settling.Done()
	ctx = context.WithoutCancel(ctx)
	charged, err := s.charge(ctx, attempt)
	if err != nil {
		s.Log.Error("Cannot charge a login attempt", "error", err.Error())
		return Result{Outcome: Unavailable}, false
	}
	exists = charged.Verdict != store.Unknown
	if charged.Verdict == store.Check {
		s.queue.setExempt(e.account, charged.Exempt)
	}
	defer func() { result.fromMemory = charged.Fallback }()

	checking, span := tracer.Start(ctx, "check")
	if refusal, refused := refusals[charged.Verdict]; refused {
		_ = place.Dummy(checking) // whose only error is that of a context that ended
		span.End()
		return Result{Outcome: refusal}, exists
	}
	matches, err := place.Matches(checking, charged.PasswordHash, []byte(c.Password))
	span.End()
	if err != nil || !matches {
		s.settling.Go(func() {
			if _, err := s.settle(ctx, charged, false); err != nil {
				s.Log.Error("Cannot settle a failed login attempt; it stays charged", "error", err.Error())
			}
		})
		return Result{Outcome: Failed}, true
	}

	accepted, err := s.settle(ctx, charged, true)
	switch {
	case err != nil:
		s.Log.Error("Cannot settle a successful login; it stays charged", "error", err.Error())
		return Result{Outcome: Unavailable}, true
	case !accepted:
		return Result{Outcome: Superseded}, true
	}
	s.known.remember(c, charged.PasswordHash, s.Now())
	return Result{Outcome: Succeeded, Username: charged.Username, Roles: charged.Roles, hash: charged.PasswordHash}, true
}

// refusals are the verdicts with which nothing is to be compared.
var refusals = map[store.Verdict]Outcome{store.Unknown: Unknown, store.Locked: Locked, store.Inactive: Inactive}

func (s *Service) charge(ctx context.Context, attempt store.Attempt) (store.Charge, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	ctx, span := tracer.Start(ctx, "charge")
	defer span.End()
	return s.Attempts.Charge(ctx, attempt, s.Limits)
}

func (s *Service) settle(ctx context.Context, charged store.Charge, success bool) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	ctx, span := tracer.Start(ctx, "settle")
	defer span.End()
	return s.Attempts.Settle(ctx, charged, success)
}
