// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// seedVariable is set to send the same manifests again. The servers may receive them in another order.
const seedVariable = "CORPUS_SEED"

const (
	randomUsers = 240 // half of them under -short
	randomSteps = 5   // of each user and each Secret
	secretsPool = 40
	othersRows  = 20
)

// expectedReasons are the reasons of the condition Ready that manifests alone can cause here.
var expectedReasons = []string{
	v1alpha1.ReasonSynced, v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonSecretKeyNotFound, v1alpha1.ReasonPasswordInvalid,
	v1alpha1.ReasonUsernameTaken, v1alpha1.ReasonRowExists, v1alpha1.ReasonLastAdministrator, v1alpha1.ReasonPaused,
}

func TestRandomManifestsAreRejectedOrExplained(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if given := os.Getenv(seedVariable); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedVariable, err)
		}
	}
	t.Logf("the same again: %s=%d", seedVariable, seed)
	w := &chance{t: t, WithT: gomega.NewWithT(t), namespace: newNamespace(t), before: metrics(t)}
	defer clearUsers(t, w.namespace)
	for i := range othersRows {
		aRowOfOthers(t, fmt.Sprintf("shared-%d", i))
	}

	// Each user and each Secret has its own random source, so that the input does not depend on their order.
	var lives []func()
	users := randomUsers
	if testing.Short() {
		users /= 2
	}
	for i := range uint64(users) {
		lives = append(lives, func() { w.live(i, rand.New(rand.NewPCG(seed, i))) })
	}
	for i := range uint64(secretsPool) {
		life := func() { w.secret(i, rand.New(rand.NewPCG(seed, randomUsers+i))) }
		lives = slices.Insert(lives, int(i)*len(lives)/secretsPool, life) // among the users
	}
	each(lives, func(live func()) { live() })
	w.explained()
	w.agree()
	quietens(t, w.before, (users+secretsPool)*randomSteps)
	clearUsers(t, w.namespace)
	w.nothingIsLeft()
}

// chance runs random changes on the users of one namespace.
type chance struct {
	*gomega.WithT
	t         *testing.T
	namespace string
	before    map[string]float64
	kept      sync.Map // names of users of whom the API server took a deletionPolicy that keeps the row
}

// secret creates, changes and deletes one Secret that users refer to.
func (w *chance) secret(number uint64, r *rand.Rand) {
	values := []string{canary + " 1", canary + " 2", aHash, "short", "", "a\x00bcdefgh", "\xff\xfe\xfd\xfc", aHash[:59], canary + "\n"}
	for range randomSteps {
		secret := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: fmt.Sprintf("secret-%d", number)},
			Data:       map[string][]byte{pick(r, "password", "password", "password", "other"): []byte(pick(r, values...))},
		}
		err := kube.Create(w.t.Context(), secret)
		if apierrors.IsAlreadyExists(err) {
			if r.IntN(3) == 0 {
				err = kube.Delete(w.t.Context(), secret)
			} else {
				err = kube.Update(w.t.Context(), secret) // over whatever there is
			}
		}
		if err != nil {
			w.t.Error(err)
		}
	}
}

func aSecret(r *rand.Rand) string { return fmt.Sprintf("secret-%d", r.IntN(secretsPool)) }

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// live creates, changes and deletes one resource in any order, with some invalid requests.
func (w *chance) live(number uint64, r *rand.Rand) {
	name := fmt.Sprintf("random-%d", number)
	claimed := "" // spec.username, which does not change
	if r.IntN(5) == 0 {
		claimed = fmt.Sprintf("shared-%d", r.IntN(othersRows*2))
	}
	for range randomSteps {
		u := &v1alpha1.ShardingUser{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: name}}
		switch err := kube.Get(w.t.Context(), client.ObjectKeyFromObject(u), u); {
		case apierrors.IsNotFound(err):
			bad := w.fill(u, claimed, r)
			w.mustBe(bad, kube.Create(w.t.Context(), u), "create", u)
		case err != nil:
			w.t.Error(err)
		case !u.DeletionTimestamp.IsZero():
		case r.IntN(6) == 0:
			if err := kube.Delete(w.t.Context(), u); client.IgnoreNotFound(err) != nil {
				w.t.Error(err)
			}
		default:
			base := u.DeepCopy()
			bad := w.fill(u, claimed, r)
			if r.IntN(10) == 0 {
				u.Spec.Username, bad = claimed+"x", true
			}
			err := kube.Patch(w.t.Context(), u, client.MergeFrom(base))
			if !apierrors.IsNotFound(err) { // a deletion may just have ended
				w.mustBe(bad, err, "change", u)
			}
		}
	}
}

// mustBe checks that the API server accepted a valid request, or rejected an invalid one with a reason.
func (w *chance) mustBe(bad bool, err error, verb string, u *v1alpha1.ShardingUser) {
	if refused := apierrors.IsInvalid(err); refused != bad || (err != nil && !refused) {
		w.t.Errorf("%s %s: %v; want it refused: %t: %+v", verb, u.Name, err, bad, u.Spec)
	}
	if err == nil && u.Spec.DeletionPolicy != v1alpha1.DeletionDelete {
		w.kept.Store(u.Name, true)
	}
}

// fill gives the resource a spec and annotations, and reports whether they are invalid.
func (w *chance) fill(u *v1alpha1.ShardingUser, claimed string, r *rand.Rand) (bad bool) {
	u.Spec = v1alpha1.ShardingUserSpec{
		Username:       claimed,
		Active:         pick(r, nil, new(true), new(false)),
		AdoptionPolicy: pick(r, "", v1alpha1.AdoptionNever, v1alpha1.AdoptionIfUnowned),
		DeletionPolicy: pick(r, "", v1alpha1.DeletionDelete, v1alpha1.DeletionDelete, v1alpha1.DeletionDeactivate, v1alpha1.DeletionRetain),
	}
	for _, role := range []v1alpha1.Role{"admin", "operator", "viewer", "shard:1"} {
		if r.IntN(4) == 0 {
			u.Spec.Roles = append(u.Spec.Roles, role)
		}
	}
	if r.IntN(2) == 0 {
		u.Spec.Password = &v1alpha1.PasswordSource{
			SecretRef: v1alpha1.SecretKeyReference{Name: aSecret(r), Key: pick(r, "", "password", "other")},
			Format:    pick(r, "", v1alpha1.PasswordFormatPlain, v1alpha1.PasswordFormatBcrypt),
		}
	}
	u.Annotations = map[string]string{}
	if r.IntN(10) == 0 {
		u.Annotations[v1alpha1.AnnotationPaused] = "true"
	}
	if r.IntN(5) == 0 {
		u.Annotations[v1alpha1.AnnotationUnlockRequestedAt] = pick(r, "now", "then", "\x00", "\u202e\n")
	}
	if r.IntN(10) == 0 {
		u.Annotations[v1alpha1.AnnotationAllowLastAdministrator] = "true"
	}
	if r.IntN(6) > 0 {
		return false
	}
	switch r.IntN(5) {
	case 0:
		u.Spec.Roles = append(u.Spec.Roles, pick[v1alpha1.Role](r, "", "a b", "\u0430dmin", "viewer,admin", "a\n"))
	case 1:
		u.Spec.Roles = []v1alpha1.Role{"viewer", "operator", "viewer"}
	case 2:
		u.Spec.AdoptionPolicy = "Always"
	case 3:
		u.Spec.DeletionPolicy = "delete"
	case 4:
		u.Spec.Password = &v1alpha1.PasswordSource{SecretRef: v1alpha1.SecretKeyReference{Name: pick(r, "A", "a/b", "-", "a..b", "a\n")}}
	}
	return true
}

// explained waits until each status is about the current resource and has a known reason.
func (w *chance) explained() {
	w.t.Helper()
	count := map[string]int{}
	w.Eventually(func() (silent []string) {
		clear(count)
		for _, u := range users(w.t, w.namespace) {
			ready := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
			switch {
			case ready == nil || ready.ObservedGeneration != u.Generation || u.Status.ObservedGeneration != u.Generation:
				silent = append(silent, u.Name)
			case !slices.Contains(expectedReasons, ready.Reason) || ready.Message == "" && ready.Reason != v1alpha1.ReasonSynced:
				silent = append(silent, u.Name+": "+ready.Reason)
			default:
				count[ready.Reason]++
			}
		}
		return silent[:min(len(silent), 10)]
	}).WithTimeout(soon).WithPolling(poll).Should(gomega.BeEmpty(), "users whose statuses do not explain")
	w.t.Logf("what the statuses say: %v", count)
	w.Expect(count[v1alpha1.ReasonSynced]).To(gomega.BeNumerically(">", randomUsers/20), "chance is not to be all bad")
	w.Expect(len(count)).To(gomega.BeNumerically(">=", 4), "nor all alike")
}

// agree waits until rows and resources match.
func (w *chance) agree() {
	w.t.Helper()
	w.Eventually(func() (differing []string) {
		table, owners := rows(w.t), w.owners()
		for _, u := range users(w.t, w.namespace) {
			username := u.Name
			if u.Spec.Username != "" {
				username = u.Spec.Username
			}
			r, there := table[username]
			ready := meta.FindStatusCondition(u.Status.Conditions, v1alpha1.ConditionReady)
			if difference := disagreement(u, ready.Reason, r, there, owners[username]); difference != "" {
				differing = append(differing, fmt.Sprintf("%s (%s): %s", u.Name, ready.Reason, difference))
			}
		}
		return differing
	}).WithTimeout(soon).WithPolling(poll).Should(gomega.BeEmpty(), "rows that are not as the resources say")
}

// disagreement describes how a row with this owner differs from a status.
func disagreement(u v1alpha1.ShardingUser, reason string, r row, there bool, owner string) string {
	switch reason {
	case v1alpha1.ReasonSynced, v1alpha1.ReasonSecretNotFound, v1alpha1.ReasonSecretKeyNotFound, v1alpha1.ReasonPasswordInvalid:
		roles := slices.Clone(u.Spec.Roles)
		slices.Sort(roles)
		switch {
		case !there || owner != u.Name:
			return "it does not own its row"
		case r.Active != *u.Spec.Active:
			return "the row is not as active"
		case !slices.Equal(roles, rolesOf(r)):
			return "the row has the roles " + r.Roles
		}
	case v1alpha1.ReasonUsernameTaken:
		if owner == "" || owner == u.Name {
			return "nobody else owns the row"
		}
	case v1alpha1.ReasonRowExists:
		if !there || owner != "" {
			return "there is no row, or it has an owner"
		}
	case v1alpha1.ReasonLastAdministrator:
		if !there || !r.Active || !slices.Contains(rolesOf(r), "admin") {
			return "there is no administrator to be kept"
		}
	}
	return ""
}

// owners returns the names of the resources that own the rows, by username.
func (w *chance) owners() map[string]string {
	w.t.Helper()
	found, err := db.Query(w.t.Context(), `SELECT username, name FROM shardinguser_ownership WHERE state = 'owned'`)
	w.Expect(err).NotTo(gomega.HaveOccurred())
	owners := map[string]string{}
	for found.Next() {
		var username, name string
		w.Expect(found.Scan(&username, &name)).To(gomega.Succeed())
		owners[username] = name
	}
	w.Expect(found.Err()).NotTo(gomega.HaveOccurred())
	return owners
}

// nothingIsLeft reports whether the rows are gone, except for those whose resources ever asked to keep them, and
// whether no row has an owner.
func (w *chance) nothingIsLeft() {
	w.t.Helper()
	w.Expect(w.owners()).To(gomega.BeEmpty())
	for username := range rows(w.t) {
		if _, stays := w.kept.Load(username); !stays && strings.HasPrefix(username, "random-") {
			w.t.Errorf("the row of %s is still there", username)
		}
	}
}
