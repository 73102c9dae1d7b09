// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/onsi/gomega"
	"golang.org/x/crypto/bcrypt"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
)

// mistakes are Secrets as people make them every day. No part of told may be shown.
var mistakes = map[string]struct {
	value     string
	ready     string // the reason of Ready
	suspicion string // the reason of PasswordSuspicious; "" where there is none
	says      string // what the message of one or the other says
	password  string // what the row is a hash of; "" where it is of nothing
}{
	"good":        {canary + "-good", "Synced", "", "", canary + "-good"},
	"crlf":        {canary + "-crlf\r\n", "Synced", "", "", canary + "-crlf"},
	"hash":        {aHash, "PasswordInvalid", "", "set spec.password.format to Bcrypt", ""},
	"mark":        {"\ufeff" + canary + "-mark", "PasswordInvalid", "", "byte order mark", ""},
	"utf16":       {"\xff\xfec\x004\x00n\x004\x00r\x00y\x00-\x00", "PasswordInvalid", "", "UTF-16", ""},
	"control":     {canary + "-\x1b[2J", "PasswordInvalid", "", "control character", ""},
	"base64":      {base64.StdEncoding.EncodeToString([]byte(canary + "-64\n")), "Synced", "LooksEncoded", "base64", base64.StdEncoding.EncodeToString([]byte(canary + "-64\n"))},
	"quotes":      {`"` + canary + `-quoted"`, "Synced", "LooksQuoted", "quotation marks", `"` + canary + `-quoted"`},
	"newlines":    {canary + "-lines\n\n", "Synced", "HasEdgeSpace", "line ending", canary + "-lines\n"},
	"spaces":      {" " + canary + "-spaces\n", "Synced", "HasEdgeSpace", "space", " " + canary + "-spaces"},
	"json":        {`{"password":"` + canary + `"}`, "Synced", "LooksEncoded", "JSON", `{"password":"` + canary + `"}`},
	"not-nfc":     {canary + "-o\u0308", "Synced", "NotNormalised", "NFC", canary + "-o\u0308"},
	"two-reasons": {`"` + canary + `-both" `, "Synced", "LooksQuoted", "line ending", `"` + canary + `-both" `},
}

// told are parts of the values that no message may hold.
var told = []string{canary, aHash[7:15], base64.StdEncoding.EncodeToString([]byte(canary))[:8], "-quoted", "-lines", "-spaces", "-both"}

func TestSecretsThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	op := s.start()
	users := map[string]*v1alpha1.ShardingUser{}
	for name, m := range mistakes {
		s.secret(name, "password", m.value)
		users[name] = s.user(name, secretRef(name, ""))
	}
	for name, m := range mistakes {
		u := users[name]
		c := s.reports(u, m.ready)
		if m.suspicion != "" {
			c = s.condition(u, v1alpha1.ConditionPasswordSuspicious, m.suspicion)
		} else {
			s.Expect(u.Status.Conditions).NotTo(gomega.ContainElement(gomega.HaveField("Type", v1alpha1.ConditionPasswordSuspicious)), name)
		}
		s.Expect(c.Message).To(gomega.ContainSubstring(m.says), name)
		switch r := s.row(name); m.password {
		case "":
			s.Expect(r.Hash).To(gomega.Equal("!"), name)
		default:
			s.Expect(r.isOf(m.password)).To(gomega.BeTrue(), name)
		}
	}
	for name, m := range mistakes {
		want := map[string]int{v1alpha1.EventCreated: 1}
		switch {
		case m.ready != "Synced":
			want[m.ready] = 1
		case m.suspicion != "":
			want[v1alpha1.ConditionPasswordSuspicious] = 1
		}
		s.eventually(func(g gomega.Gomega) { g.Expect(s.events(g, name)).To(gomega.Equal(want), name) })
	}
	s.tellsNothing(users)

	// Neither is lost nor told again by an operator that starts.
	op.stop()
	a := s.watchAccounts()
	second := s.start()
	s.lookedAt(a, len(users))
	marker := s.readyUser("marker")
	for name, m := range mistakes {
		s.refresh(users[name])
		if m.suspicion != "" {
			s.condition(users[name], v1alpha1.ConditionPasswordSuspicious, m.suspicion)
		}
	}
	s.Expect(second.hasher.Computed() + second.hasher.Compared()).To(gomega.BeZero())
	s.told("quotes", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.ConditionPasswordSuspicious: 1})
	s.remove(marker)

	// A fixed value is reported no more.
	var secret corev1.Secret
	s.Expect(s.kube.Get(t.Context(), client.ObjectKey{Namespace: s.namespace, Name: "quotes"}, &secret)).To(gomega.Succeed())
	s.put(&secret, "password", canary+"-right")
	s.eventually(func(g gomega.Gomega) {
		s.refresh(users["quotes"])
		g.Expect(users["quotes"].Status.Conditions).NotTo(gomega.ContainElement(gomega.HaveField("Type", v1alpha1.ConditionPasswordSuspicious)))
	})
	s.Expect(s.row("quotes").isOf(canary + "-right")).To(gomega.BeTrue())
	s.told("quotes", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.ConditionPasswordSuspicious: 1, v1alpha1.EventPasswordChanged: 1})
}

// tellsNothing sees that no part of a value is in a resource, an Event or a note; of the log, TestMain sees it.
func (s *story) tellsNothing(users map[string]*v1alpha1.ShardingUser) {
	s.t.Helper()
	var events eventsv1.EventList
	s.Expect(s.kube.List(s.t.Context(), &events, client.InNamespace(s.namespace))).To(gomega.Succeed())
	all, err := json.Marshal(events.Items)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	texts := []string{string(all)}
	for name, u := range users {
		text, err := json.Marshal(u)
		s.Expect(err).NotTo(gomega.HaveOccurred())
		texts = append(texts, string(text), string(s.note(name).PasswordSuspicion))
	}
	for _, text := range texts {
		for _, part := range told {
			s.Expect(strings.Contains(text, part)).To(gomega.BeFalse(), "%q is told", part)
		}
	}
}

func TestSuspicionsOfWhatAnOlderVersionApplied(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	first := s.start()
	s.secret("quotes", "password", `"`+canary+`-quoted"`)
	s.secret("good", "password", canary+"-good")
	s.secret("crlf", "password", canary+"-crlf\r\n")
	quotes, good, crlf := s.readyUser("quotes", secretRef("quotes", "")), s.readyUser("good", secretRef("good", "")), s.readyUser("crlf", secretRef("crlf", ""))
	first.stop()

	// An older version leaves this behind: it did not know the columns, and took the carriage return for a part of the password.
	hash, err := bcrypt.GenerateFromPassword([]byte(canary+"-crlf\r"), bcrypt.MinCost)
	s.Expect(err).NotTo(gomega.HaveOccurred())
	s.sql(`UPDATE shardinguser_ownership SET password_judged = '', password_suspicion = ''`)
	s.sql(`UPDATE shardinguser_ownership SET password_hash = $1 WHERE username = 'crlf'`, string(hash))
	s.sql(`UPDATE users SET password_hash = $1 WHERE username = 'crlf'`, string(hash))
	before := s.row("quotes")
	s.refresh(quotes)
	quotes.Status.Conditions = nil
	s.Expect(s.kube.Status().Update(t.Context(), quotes)).To(gomega.Succeed())

	second := s.start()
	s.condition(quotes, v1alpha1.ConditionPasswordSuspicious, v1alpha1.ReasonLooksQuoted)
	for _, u := range []*v1alpha1.ShardingUser{quotes, good, crlf} {
		s.eventually(func(g gomega.Gomega) { g.Expect(s.note(u.Name).PasswordUnchecked).To(gomega.BeFalse(), u.Name) })
	}
	s.Expect(s.row("quotes")).To(gomega.Equal(before), "judging it changes nothing in the row")
	s.Expect(s.row("crlf").isOf(canary + "-crlf")).To(gomega.BeTrue())
	s.Expect(second.hasher.Computed()).To(gomega.BeEquivalentTo(1), "of the one that is another password now")
	s.Expect(second.hasher.Compared()).To(gomega.BeEquivalentTo(1))
	s.told("crlf", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.EventPasswordChanged: 1})
	s.told("good", map[string]int{v1alpha1.EventCreated: 1})
}

func TestBasicAuthSecretOfAnotherUser(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.start()
	basic := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "basic"}, Type: corev1.SecretTypeBasicAuth,
		Data: map[string][]byte{"username": []byte(canary + "-bob"), "password": []byte(canary + "-basic")},
	}
	s.Expect(s.kube.Create(t.Context(), basic)).To(gomega.Succeed())
	opaque := s.secret("opaque", "username", canary+"-bob", "password", canary+"-opaque")
	u := s.readyUser("alice", secretRef("basic", ""))
	other := s.readyUser("carol", secretRef(opaque.Name, ""))
	c := s.condition(u, v1alpha1.ConditionPasswordSuspicious, v1alpha1.ReasonUsernameDiffers)
	s.Expect(c.Message).To(gomega.And(gomega.ContainSubstring("username"), gomega.Not(gomega.ContainSubstring(canary))))
	s.refresh(other)
	s.Expect(other.Status.Conditions).NotTo(gomega.ContainElement(gomega.HaveField("Type", v1alpha1.ConditionPasswordSuspicious)))

	before := s.row("alice")
	s.put(basic, "username", "alice\n")
	s.eventually(func(g gomega.Gomega) {
		s.refresh(u)
		g.Expect(u.Status.Conditions).NotTo(gomega.ContainElement(gomega.HaveField("Type", v1alpha1.ConditionPasswordSuspicious)))
	})
	s.Expect(s.row("alice")).To(gomega.Equal(before), "the password is the same")
	s.told("alice", map[string]int{v1alpha1.EventCreated: 1, v1alpha1.ConditionPasswordSuspicious: 1})
}

func TestMissingKeyNamesTheKeysThatAreThere(t *testing.T) {
	t.Parallel()
	s := newStory(t)
	s.start()
	s.secret("one", "pass", canary+"-one")
	s.secret("none")
	s.secret("some", "b", canary+"-b", "a", canary+"-a")
	for name, want := range map[string]string{
		"one": `set spec.password.secretRef.key to "pass".`, "none": "it is empty", "some": `its keys are "a", "b"`,
	} {
		c := s.reports(s.user(name, secretRef(name, "")), v1alpha1.ReasonSecretKeyNotFound)
		s.Expect(c.Message).To(gomega.And(gomega.ContainSubstring(want), gomega.Not(gomega.ContainSubstring(canary))))
	}
}
