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

// Attempts charges and settles attempts. Package store describes the methods.
type Attempts interface {
	Charge(ctx context.Context, attempt store.Attempt, limits store.Limits) (store.Charge, error)
	Settle(ctx context.Context, charged store.Charge, success bool) (accepted bool, err error)
}

// Accounts looks up an account. It is called on every request of a gateway.
type Accounts interface {
	Observe(ctx context.Context, username string) (user.Observed, error)
}

// Options configures a Service.
type Options struct {
	Attempts Attempts
	Accounts Accounts
	Hasher   *password.Hasher
	Limits   store.Limits

	// Tokens issues and checks tokens; nil without a signing secret or key.
	Tokens *Tokens

	// RecognizeFor is the time for which credentials that passed are recognized without bcrypt; 0 disables it.
	RecognizeFor time.Duration

	// SourceRate is the number of attempts that an address may make each second, and SourceBurst at once. A rate of 0 means no
	// limit, and a negative one (config.Auto) half of the hashes that the cores compute each second.
	SourceRate  int
	SourceBurst int

	Registry prometheus.Registerer
	Log      *slog.Logger
	Now      func() time.Time
}

// storeTimeout limits a charge and a settlement. It is longer than the statement timeout of the database.
const storeTimeout = 10 * time.Second

// Service decides attempts. It is safe for concurrent use.
type Service struct {
	Options
	aliases  *password.Fingerprinter
	queue    *queue
	throttle *throttle
	refusals *throttle
	known    *recognized // nil if disabled
	metrics  *metrics

	settling sync.WaitGroup
}

// New returns a Service. It returns an error if its metrics are registered already.
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

// rate returns a function for the current number of attempts that an address may make each second, or nil for no limit.
func (o Options) rate() func() rate.Limit {
	switch {
	case o.SourceRate == 0:
		return nil
	case o.SourceRate > 0:
		return func() rate.Limit { return rate.Limit(o.SourceRate) }
	}
	return func() rate.Limit { return rate.Limit(max(1, o.Hasher.PerSecond()/2)) }
}

// refusalRate returns a function for the number of refusals that an address gets each second before its connections are held, or
// nil for no limit.
func (o Options) refusalRate() func() rate.Limit {
	if o.SourceRate == 0 {
		return nil
	}
	return func() rate.Limit { return rate.Limit(refusalsPerCore * o.Hasher.Cores()) }
}

// Credentials are a client's username and password, with its address and user agent.
type Credentials struct {
	Username  string
	Password  string
	Source    netip.Addr
	UserAgent string
}

// Outcome is the end of an attempt for logs and metrics. Clients see less of it.
type Outcome string

const (
	// Succeeded: the right password of an account that is active and not locked.
	Succeeded Outcome = "success"

	// Failed: a wrong password, or no usable hash to compare with.
	Failed Outcome = "failed"

	// Unknown: no such account. Clients cannot distinguish it, and the next three, from Failed.
	Unknown Outcome = "unknown"

	// Locked: the account is locked; nothing was checked.
	Locked Outcome = "locked"

	// Inactive: the account is not active; nothing was checked.
	Inactive Outcome = "inactive"

	// Superseded: the right password, but the account changed during the attempt.
	Superseded Outcome = "superseded"

	// Busy: more logins than the cores can serve; nothing was charged.
	Busy Outcome = "busy"

	// Throttled: more logins than one address may make; nothing was charged.
	Throttled Outcome = "throttled"

	// Abandoned: the client disconnected while the attempt was queued; nothing was charged.
	Abandoned Outcome = "abandoned"

	// Unavailable: the store is unavailable. If it became so during the attempt, the attempt stays charged.
	Unavailable Outcome = "unavailable"
)

var outcomes = []Outcome{Succeeded, Failed, Unknown, Locked, Inactive, Superseded, Busy, Throttled, Abandoned, Unavailable}

// Result is the end of an attempt.
type Result struct {
	Outcome Outcome

	// These describe the account, with Succeeded only.
	Username string
	Roles    []string
	hash     string
	signOut  *time.Time // the last one before the attempt

	RetryAfter time.Duration // with Busy and Throttled

	fallback bool // decided from the account cache while the database was unavailable
	familiar bool // charged to the budget of familiar addresses
}

// Wait closes the queue before the process ends, and returns when all charged attempts are settled.
func (s *Service) Wait() {
	s.queue.close()
	s.settling.Wait()
}

// LogIn makes one attempt.
func (s *Service) LogIn(ctx context.Context, c Credentials) Result {
	return s.attempt(ctx, c, false)
}

// Verify is LogIn, but recognizes credentials that passed recently.
func (s *Service) Verify(ctx context.Context, c Credentials) Result {
	if result, ok := s.recognize(ctx, c); ok {
		return result
	}
	return s.attempt(ctx, c, true)
}

// attempt makes one attempt, counts and logs it. With verify, it recognizes credentials that passed while it was queued.
func (s *Service) attempt(ctx context.Context, c Credentials, verify bool) Result {
	begun := s.Now()
	digest := s.aliases.Of([]byte(c.Username))
	attempt := store.Attempt{
		Username:  c.Username,
		Alias:     fmt.Sprintf("hmac:%x", digest[:6]),
		Source:    c.Source.String(),
		UserAgent: c.UserAgent,
	}
	exists := false // or unknown
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
	if result.fallback {
		attributes = append(attributes, slog.Bool("fallback", true))
	}
	if result.familiar {
		attributes = append(attributes, slog.Bool("familiar", true))
	}
	s.Log.LogAttrs(ctx, level(result.Outcome), "Login attempt", attributes...)
	return result
}

// notDecided returns the result of an attempt that ended before it was charged.
func notDecided(err error) Result {
	switch {
	case errors.Is(err, password.ErrBusy):
		return Result{Outcome: Busy, RetryAfter: time.Second}
	case errors.Is(err, errClosed):
		return Result{Outcome: Unavailable}
	}
	return Result{Outcome: Abandoned}
}

// level returns the level of an outcome in the log: debug for those that any client can cause without limit.
func level(o Outcome) slog.Level {
	switch o {
	case Throttled, Busy, Abandoned:
		return slog.LevelDebug
	default:
		return slog.LevelInfo
	}
}

// decide charges, checks and settles an attempt, and reports whether the account exists. It settles a failure in the background,
// since a refusal without a charge has nothing to settle and would be faster.
func (s *Service) decide(ctx context.Context, c Credentials, e entrant, attempt store.Attempt) (result Result, exists bool) {
	place, err := s.Hasher.Reserve(e.key())
	if err != nil {
		return notDecided(err), false
	}
	defer place.Release()

	// From here on the attempt is completed even if the client disconnects. The process waits for it.
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
	defer func() { result.fallback, result.familiar = charged.Fallback, charged.Familiar }()

	checking, span := tracer.Start(ctx, "check")
	if refusal, refused := refusals[charged.Verdict]; refused {
		_ = place.Dummy(checking) // it fails only if its context ends
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
	return Result{Outcome: Succeeded, Username: charged.Username, Roles: charged.Roles, hash: charged.PasswordHash, signOut: charged.SignedOutAt}, true
}

// refusals are the verdicts without a hash to compare.
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
