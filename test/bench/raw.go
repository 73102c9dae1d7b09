// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/bcrypt"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/test/testenv"
)

// rawGroup is the API group of a copy of the CRD: the same schema and the same cost, but no program watches it.
const rawGroup = "raw.sharding.io"

// rawUsers is the number of resources of the copy. Their statuses are written in turn.
const rawUsers = 256

// A rawAPI makes the calls that every implementation needs.
type rawAPI struct {
	s      *stage
	client *rest.RESTClient
	writes atomic.Int64

	listening, reading *pgx.Conn
}

func newRawAPI(ctx context.Context, s *stage) (*rawAPI, error) {
	if err := installCopy(s.cluster.Config()); err != nil {
		return nil, err
	}
	config := s.cluster.Config()
	config.QPS = -1
	config.APIPath = "/apis"
	config.GroupVersion = &schema.GroupVersion{Group: rawGroup, Version: v1alpha1.GroupVersion.Version}
	config.NegotiatedSerializer = clientgoscheme.Codecs.WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	r := &rawAPI{s: s, client: client}
	err = atOnce(ctx, creators, rawUsers, func(ctx context.Context, i int) error {
		body := fmt.Sprintf(`{"apiVersion":"%s/%s","kind":"ShardingUser","metadata":{"name":"%s","finalizers":["sharding.io/row"]},
			"spec":{"roles":["viewer"],"password":{"secretRef":{"name":"%s"},"format":"Bcrypt"}}}`,
			rawGroup, v1alpha1.GroupVersion.Version, name(i), name(i))
		return r.client.Post().Namespace(s.namespace).Resource("shardingusers").Body([]byte(body)).Do(ctx).Error()
	})
	if err != nil {
		return nil, fmt.Errorf("create the copies: %w", err)
	}
	return r, r.connect(ctx)
}

// installCopy installs the CRD again in another group.
func installCopy(config *rest.Config) error {
	root, err := testenv.Root()
	if err != nil {
		return err
	}
	content, err := os.ReadFile(filepath.Join(root, "config", "crd", "bases", "sharding.io_shardingusers.yaml"))
	if err != nil {
		return fmt.Errorf("read the CRD: %w", err)
	}
	crd := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(content, crd); err != nil {
		return fmt.Errorf("read the CRD: %w", err)
	}
	crd.Spec.Group = rawGroup
	crd.Name = crd.Spec.Names.Plural + "." + rawGroup
	_, err = envtest.InstallCRDs(config, envtest.CRDInstallOptions{
		CRDs: []*apiextensionsv1.CustomResourceDefinition{crd}, MaxTime: patience,
	})
	if err != nil {
		return fmt.Errorf("install the copy of the CRD: %w", err)
	}
	return nil
}

// connect creates what the raw measurement of a lock needs.
func (r *rawAPI) connect(ctx context.Context) (err error) {
	const table = `
CREATE TABLE bench_raw AS
	SELECT 'user-' || lpad(n::text, 6, '0') AS username, NULL::timestamp AS locked_until, repeat('x', 200) AS filler
	FROM generate_series(0, 9999) n;
ALTER TABLE bench_raw ADD PRIMARY KEY (username)`
	if err := r.s.exec(ctx, table); err != nil {
		return fmt.Errorf("make a raw table: %w", err)
	}
	for _, at := range []**pgx.Conn{&r.listening, &r.reading} {
		if *at, err = pgx.Connect(ctx, r.s.administrator()); err != nil {
			return fmt.Errorf("connect to the database: %w", err)
		}
	}
	if _, err := r.listening.Exec(ctx, "LISTEN bench_raw"); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

func (r *rawAPI) close(ctx context.Context) error {
	for _, conn := range []*pgx.Conn{r.listening, r.reading} {
		if conn == nil {
			continue
		}
		if err := conn.Close(ctx); err != nil {
			return fmt.Errorf("close a connection: %w", err)
		}
	}
	return nil
}

// writeStatus writes a status like one of the manager.
func (r *rawAPI) writeStatus(ctx context.Context) error {
	n := r.writes.Add(1) // so that each write changes something
	now := time.Now().UTC().Format(time.RFC3339)
	condition := func(kind, status, reason, message string) string {
		return fmt.Sprintf(`{"type":"%s","status":"%s","reason":"%s","message":"%s","observedGeneration":1,"lastTransitionTime":"%s"}`,
			kind, status, reason, message, now)
	}
	body := fmt.Sprintf(`{"status":{"observedGeneration":1,"username":"%s","locked":false,"failedLoginAttempts":%d,
		"passwordChangedTime":"%s","conditions":[%s,%s]}}`, name(int(n)%rawUsers), n%1_000_000, now,
		condition("Ready", "True", "Synced", "The row matches the spec."),
		condition("Locked", "False", "NotLocked", "The account is not locked."))
	err := r.client.Patch(types.MergePatchType).Namespace(r.s.namespace).Resource("shardingusers").
		Name(name(int(n) % rawUsers)).SubResource("status").Body([]byte(body)).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("write a raw status: %w", err)
	}
	return nil
}

// statuses returns the time for n raw status writes, with the manager's concurrency.
func (r *rawAPI) statuses(ctx context.Context, n int) (time.Duration, error) {
	begun := time.Now()
	err := atOnce(ctx, r.s.concurrency, n, func(ctx context.Context, _ int) error { return r.writeStatus(ctx) })
	return time.Since(begun), err
}

// lists returns the time to read what a start has to: the resources, the metadata of the Secrets, and the rows with the
// ownership records, one after another.
func (r *rawAPI) lists(ctx context.Context) (time.Duration, error) {
	fromCache := &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: "0"}} // as informers do
	begun := time.Now()
	var users v1alpha1.ShardingUserList
	if err := r.s.api.List(ctx, &users, fromCache); err != nil {
		return 0, fmt.Errorf("list the users: %w", err)
	}
	secrets := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "SecretList"}}
	if err := r.s.api.List(ctx, secrets, fromCache); err != nil {
		return 0, fmt.Errorf("list the Secrets: %w", err)
	}
	rows, err := r.reading.Query(ctx, "SELECT * FROM users FULL JOIN shardinguser_ownership USING (username)")
	if err != nil {
		return 0, fmt.Errorf("read the rows: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if _, err := rows.Values(); err != nil {
			return 0, fmt.Errorf("read the rows: %w", err)
		}
	}
	return time.Since(begun), rows.Err()
}

// lock returns the time for a notification, a SELECT and a status write, one after another, from the change of a row.
func (r *rawAPI) lock(ctx context.Context, username string) (time.Duration, error) {
	begun := time.Now()
	if err := r.s.exec(ctx, `WITH locked AS (
		UPDATE bench_raw SET locked_until = now() + interval '15 minutes' WHERE username = $1 RETURNING username
	) SELECT pg_notify('bench_raw', username) FROM locked`, username); err != nil {
		return 0, fmt.Errorf("change a raw row: %w", err)
	}
	if _, err := r.listening.WaitForNotification(ctx); err != nil {
		return 0, fmt.Errorf("wait for a notification: %w", err)
	}
	var until time.Time
	if err := r.reading.QueryRow(ctx, "SELECT locked_until FROM bench_raw WHERE username = $1", username).Scan(&until); err != nil {
		return 0, fmt.Errorf("read a raw row: %w", err)
	}
	return since(begun, r.writeStatus(ctx))
}

// since returns the duration of something that ended with this error.
func since(begun time.Time, err error) (time.Duration, error) { return time.Since(begun), err }

// oneHash returns the time of one bcrypt of golang.org/x/crypto at the manager's default cost.
func oneHash() (time.Duration, error) {
	begun := time.Now()
	_, err := bcrypt.GenerateFromPassword([]byte(newPassword()), bcrypt.DefaultCost)
	return since(begun, err)
}

// hashing returns the time of n hashes on all cores without other work.
func hashing(ctx context.Context, n int) (time.Duration, error) {
	begun := time.Now()
	err := atOnce(ctx, runtime.GOMAXPROCS(0), n, func(context.Context, int) error {
		_, err := oneHash()
		return err
	})
	return since(begun, err)
}
