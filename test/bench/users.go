// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// creators is the number of concurrent creators.
const creators = 32

// account returns a user whose password is in this Secret.
func (s *stage) account(name, secret string, format v1alpha1.PasswordFormat) *v1alpha1.ShardingUser {
	return &v1alpha1.ShardingUser{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: v1alpha1.ShardingUserSpec{
			Roles: []v1alpha1.Role{"viewer"},
			Password: &v1alpha1.PasswordSource{
				SecretRef: v1alpha1.SecretKeyReference{Name: secret}, Format: format,
			},
		},
	}
}

func (s *stage) secret(name, password string) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Data:       map[string][]byte{"password": []byte(password)},
	}
}

// createPlain creates users from number first on, each with a Secret that holds its own password, and returns the
// passwords.
func (s *stage) createPlain(ctx context.Context, first, n int) ([]string, error) {
	passwords := make([]string, n)
	err := atOnce(ctx, creators, n, func(ctx context.Context, i int) error {
		passwords[i] = newPassword()
		if err := s.api.Create(ctx, s.secret(name(first+i), passwords[i])); err != nil {
			return err
		}
		return s.api.Create(ctx, s.account(name(first+i), name(first+i), v1alpha1.PasswordFormatPlain))
	})
	return passwords, err
}

// createHashed creates users whose Secrets hold a hash: one each, or one for all.
func (s *stage) createHashed(ctx context.Context, n int, shared bool) error {
	hash, err := bcrypt.GenerateFromPassword([]byte(newPassword()), bcrypt.DefaultCost)
	if err != nil {
		return fmt.Errorf("hash: %w", err)
	}
	const all = "all"
	if shared {
		if err := s.api.Create(ctx, s.secret(all, string(hash))); err != nil {
			return fmt.Errorf("create the Secret: %w", err)
		}
	}
	return atOnce(ctx, creators, n, func(ctx context.Context, i int) error {
		secret := all
		if !shared {
			secret = name(i)
			if err := s.api.Create(ctx, s.secret(secret, string(hash))); err != nil {
				return err
			}
		}
		return s.api.Create(ctx, s.account(name(i), secret, v1alpha1.PasswordFormatBcrypt))
	})
}

// atOnce does n things with the given concurrency.
func atOnce(ctx context.Context, limit, n int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(limit)
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error { return do(ctx, i) })
	}
	return group.Wait()
}

// allReady waits until every user has a row and a status, and returns the time since begun. Its own queries cost
// little: first the rows, then the statuses, which come last.
func (s *stage) allReady(ctx context.Context, begun time.Time) (time.Duration, error) {
	for _, question := range []string{
		"SELECT to_regclass('users') IS NOT NULL AND $1 > 0",
		"SELECT count(*) >= $1 FROM users",
	} {
		err := s.within(ctx, "all rows", 5*poll, func(ctx context.Context) (yes bool, err error) {
			err = s.db.QueryRow(ctx, question, s.users).Scan(&yes)
			return yes, err
		})
		if err != nil {
			return 0, err
		}
	}
	err := s.within(ctx, "all statuses", s.scrapes(), func(ctx context.Context) (bool, error) {
		counted, ok := s.scrape(ctx)
		return ok && counted[statusWrites] >= float64(s.users), nil
	})
	return time.Since(begun), err
}

// notReady returns how many users are not ready, according to the API server.
func (s *stage) notReady(ctx context.Context) (int, error) {
	var list v1alpha1.ShardingUserList
	if err := s.api.List(ctx, &list, client.InNamespace(s.namespace)); err != nil {
		return 0, fmt.Errorf("list the users: %w", err)
	}
	missing := s.users
	for _, u := range list.Items {
		if meta.IsStatusConditionTrue(u.Status.Conditions, v1alpha1.ConditionReady) {
			missing--
		}
	}
	return missing, nil
}

// hashOf returns the column password_hash of a user.
func (s *stage) hashOf(ctx context.Context, username string) (hash string, err error) {
	err = s.db.QueryRow(ctx, "SELECT password_hash FROM users WHERE username = $1", username).Scan(&hash)
	return hash, err
}

// watch reports each state of users from now on, until stop.
func (s *stage) watch(ctx context.Context) (_ <-chan watch.Event, stop func(), err error) {
	var now v1alpha1.ShardingUserList
	if err := s.api.List(ctx, &now, client.InNamespace(s.namespace), client.Limit(1)); err != nil {
		return nil, nil, fmt.Errorf("list the users: %w", err)
	}
	w, err := s.api.Watch(ctx, &v1alpha1.ShardingUserList{}, client.InNamespace(s.namespace),
		&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: now.ResourceVersion}})
	if err != nil {
		return nil, nil, fmt.Errorf("watch the users: %w", err)
	}
	return w.ResultChan(), w.Stop, nil
}

// await reads events until all of these users are locked, or none of them is.
func (s *stage) await(ctx context.Context, events <-chan watch.Event, names []string, locked bool) error {
	missing := sets.New(names...)
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for len(missing) > 0 {
		select {
		case event, ok := <-events:
			u, is := event.Object.(*v1alpha1.ShardingUser)
			switch {
			case !ok, event.Type == watch.Error:
				return fmt.Errorf("the watch ended: %v", event.Object)
			case is && u.Status.Locked == locked &&
				meta.IsStatusConditionTrue(u.Status.Conditions, v1alpha1.ConditionLocked) == locked:
				missing.Delete(u.Name)
			}
		case <-s.manager.Ended():
			return s.manager.Err()
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return fmt.Errorf("%d of %d users are not seen as locked: %t after %s", len(missing), len(names), locked, patience)
		}
	}
	return nil
}
