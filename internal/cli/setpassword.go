// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/cli/importer"
	"github.com/sharding-system/shardinguser-operator/internal/password"
	"github.com/sharding-system/shardinguser-operator/internal/user"
)

const (
	minGenerated     = 16
	defaultGenerated = 24
)

type passwordSetter struct {
	*env
	output    output
	stdin     bool
	generate  int
	minLength int
	cost      int
	yes       bool
	force     bool
}

func newSetPassword(e *env) *cobra.Command {
	p := &passwordSetter{env: e}
	cmd := &cobra.Command{
		Use:   "set-password NAME",
		Short: "Write a new password to the Secret of a user",
		Long: `Write a new password to the Secret of a user. The operator applies it immediately.

Without --stdin or --generate, the command asks for the password twice and does not show it. A password is never an argument,
because other users of the machine could read it. A password that the operator would reject is rejected before anything is
written. A password that the operator would report as PasswordSuspicious needs confirmation. The command shows the strength.

The Secret is that of spec.password.secretRef. The command creates it if it does not exist, and otherwise changes only its one
key. With the format Bcrypt, it writes a hash. A user without spec.password gets one, with the Secret NAME-password, after
confirmation. A Secret that another program manages (External Secrets, Sealed Secrets, Argo CD, Flux, Helm) is not changed,
because that program would restore the old password.

A password in a Secret that the operator created (spec.password.generate) is valid until the operator replaces it after
spec.password.maxAge or the maxAge of a policy. If you create that Secret yourself, after confirmation, the operator never changes
it.`,
		Example: `  # Enter the password
  kubectl shardinguser set-password alice

  # From a password manager
  pass show alice | kubectl shardinguser set-password alice --stdin

  # Generate a random password, which is printed once
  kubectl shardinguser set-password alice --generate`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: e.completeUsers(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return p.run(cmd.Context(), args[0]) },
	}
	p.output.bind(cmd, asJSON, asYAML)
	flags := cmd.Flags()
	flags.BoolVar(&p.stdin, "stdin", false, "Read the password from the standard input, without one trailing line ending")
	flags.IntVar(&p.generate, "generate", 0, fmt.Sprintf("Generate a random password of this many characters (default %d), and print it", defaultGenerated))
	flags.Lookup("generate").NoOptDefVal = fmt.Sprint(defaultGenerated)
	flags.IntVar(&p.minLength, "min-length", 8, "Minimum number of characters, as the operator's --password-min-length")
	flags.IntVar(&p.cost, "bcrypt-cost", password.MinCost, fmt.Sprintf("bcrypt cost if a hash is written, %d to %d", password.MinCost, password.MaxCost))
	flags.BoolVarP(&p.yes, "yes", "y", false, "Confirm all questions")
	flags.BoolVar(&p.force, "force", false, "Change the Secret even if another program manages it")
	cmd.MarkFlagsMutuallyExclusive("stdin", "generate")
	return cmd
}

// written is what set-password tells programs.
type written struct {
	Namespace string                  `json:"namespace"`
	Name      string                  `json:"name"`
	Secret    string                  `json:"secret"`
	Key       string                  `json:"key"`
	Format    v1alpha1.PasswordFormat `json:"format"`
	Strength  strength                `json:"strength"`

	Suspicious string `json:"suspicious,omitempty"` // the reason of PasswordSuspicious that was agreed to
	Password   string `json:"password,omitempty"`   // only one that was generated
}

func (p *passwordSetter) run(ctx context.Context, name string) error {
	if err := p.check(); err != nil {
		return err
	}
	kube, namespace, err := p.cluster()
	if err != nil {
		return err
	}
	u, err := getUser(ctx, kube, namespace, name)
	if err != nil {
		return err
	}
	source := passwordSource(u)
	secret, err := p.secretOf(ctx, kube, u, source)
	if err != nil {
		return err
	}
	if err := p.agree(ctx, kube, u, source, secret); err != nil {
		return err
	}
	plain, err := p.password(ctx, u.Name)
	if err != nil {
		return err
	}
	given := password.FromSecret(string(secret.Type), source.SecretRef.Key, secret.Data)
	given.Value = plain
	inspected := given.Inspect(user.Username(u), max(p.minLength, policyMinLength(ctx, kube, u)))
	if inspected.Err != nil {
		return inspected.Err
	}
	if inspected.Suspicion != "" {
		question := fmt.Sprintf("The password %v. It works, but is probably not the one that you intended.", inspected.Suspicion)
		if err := p.confirm(ctx, []string{question}); err != nil {
			return err
		}
	}
	plain = inspected.Value
	estimate := strengthOf(plain, user.Username(u), u.Name, u.Namespace)
	p.ErrOut.say("%v", estimate)
	if err := p.write(ctx, kube, u, source, secret, plain); err != nil {
		return err
	}
	if source.Generate != nil && metav1.IsControlledBy(secret, u) {
		p.ErrOut.say("The operator created %s. This password is valid until the operator replaces it after the maxAge of %s or of a policy, if set.",
			called(secret), called(u))
	}
	return p.tell(u, source, written{Strength: estimate, Suspicious: inspected.Suspicion.Reason()}, plain)
}

func (p *passwordSetter) check() error {
	switch {
	case p.generate != 0 && (p.generate < minGenerated || p.generate > password.MaxBytes):
		return fmt.Errorf("--generate must be %d to %d characters", minGenerated, password.MaxBytes)
	case p.cost < password.MinCost || p.cost > password.MaxCost:
		return fmt.Errorf("--bcrypt-cost must be %d to %d", password.MinCost, password.MaxCost)
	case !p.stdin && p.generate == 0 && p.terminal == nil:
		return fmt.Errorf("cannot ask for the password: %w; use --stdin or --generate", errNobodyThere)
	}
	return p.output.check()
}

// passwordSource is where a user's password comes from, or would.
func passwordSource(u *v1alpha1.ShardingUser) v1alpha1.PasswordSource {
	if u.Spec.Password != nil {
		return *u.Spec.Password
	}
	return v1alpha1.PasswordSource{
		SecretRef: v1alpha1.SecretKeyReference{Name: u.Name + importer.SecretSuffix, Key: importer.SecretKey},
		Format:    v1alpha1.PasswordFormatPlain,
	}
}

// secretOf is the Secret as it is, or a new one where there is none. One that is not ours to change is an error.
func (p *passwordSetter) secretOf(ctx context.Context, kube client.Client, u *v1alpha1.ShardingUser, source v1alpha1.PasswordSource) (*corev1.Secret, error) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: u.Namespace, Name: source.SecretRef.Name}}
	if err := kube.Get(ctx, client.ObjectKeyFromObject(secret), secret); err != nil {
		return secret, client.IgnoreNotFound(err)
	}
	if secret.Immutable != nil && *secret.Immutable {
		return nil, fmt.Errorf("%s is immutable; create another one, and name it in spec.password.secretRef", called(secret))
	}
	if by := keeper(secret, u); by != "" && !p.force {
		return nil, fmt.Errorf("%s is managed by %s, which would restore the old password; change it there, or use --force", called(secret), by)
	}
	return secret, nil
}

// agree asks about what may not be expected.
func (p *passwordSetter) agree(ctx context.Context, kube client.Client, u *v1alpha1.ShardingUser, source v1alpha1.PasswordSource, secret *corev1.Secret) error {
	questions := unexpected(u, source, secret)
	if others := sharers(ctx, kube, u, source.SecretRef); len(others) > 0 {
		questions = append(questions, fmt.Sprintf("secret/%s is also the password of %s.", source.SecretRef.Name, strings.Join(others, ", ")))
	}
	return p.confirm(ctx, questions)
}

// confirm asks each question. The error ends the command where one of them is not agreed to.
func (p *passwordSetter) confirm(ctx context.Context, questions []string) error {
	for _, question := range questions {
		switch {
		case p.yes:
			p.ErrOut.say("%s", question)
			continue
		case p.terminal == nil:
			return fmt.Errorf("%s Cannot ask for confirmation: %w; use --yes", question, errNobodyThere)
		}
		yes, err := p.terminal.confirms(ctx, question+" Continue?")
		if err != nil {
			return err
		}
		if !yes {
			return finding("Nothing was changed.")
		}
	}
	return nil
}

// unexpected returns the questions about effects that a user may not expect.
func unexpected(u *v1alpha1.ShardingUser, source v1alpha1.PasswordSource, secret *corev1.Secret) (questions []string) {
	if u.Spec.Password == nil {
		questions = append(questions, fmt.Sprintf("%s has no spec.password, so another program manages its password. From now on the password comes from %s.",
			called(u), called(secret)))
		if _, taken := secret.Data[source.SecretRef.Key]; taken {
			questions = append(questions, fmt.Sprintf("%s already exists, and the value of its key %s would be lost.",
				called(secret), source.SecretRef.Key))
		}
	}
	if source.Generate != nil && secret.UID == "" {
		questions = append(questions, fmt.Sprintf("The operator generates the password of %s, but has not created %s yet (kubectl shardinguser doctor %s -n %s explains why). "+
			"If you create it, the operator never replaces the password in it, and never deletes it.", called(u), called(secret), u.Name, u.Namespace))
	}
	return questions
}

// sharers returns the other users of a Secret's key; none without the right to list users.
func sharers(ctx context.Context, kube client.Client, u *v1alpha1.ShardingUser, ref v1alpha1.SecretKeyReference) (names []string) {
	users, err := listUsers(ctx, kube, u.Namespace, false, "")
	if err != nil {
		return nil
	}
	for i := range users {
		if other := &users[i]; other.Name != u.Name && other.Spec.Password != nil && other.Spec.Password.SecretRef == ref {
			names = append(names, other.Name)
		}
	}
	return names
}

// policyMinLength is what the policy that permits the user asks for; 0 where it asks for nothing, or may not be read.
func policyMinLength(ctx context.Context, kube client.Client, u *v1alpha1.ShardingUser) int {
	var policy v1alpha1.ShardingUserPolicy
	if u.Status.PermittedBy == "" || kube.Get(ctx, client.ObjectKey{Name: u.Status.PermittedBy}, &policy) != nil || policy.Spec.Password == nil {
		return 0
	}
	return int(policy.Spec.Password.MinLength)
}

// password is the new password, as it was given.
func (p *passwordSetter) password(ctx context.Context, name string) ([]byte, error) {
	switch {
	case p.generate != 0:
		return []byte(password.Random(p.generate)), nil
	case p.stdin:
		const most = 4096 // of which password.Check says that it is too long
		return unlessEnded(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(p.In, most)) })
	}
	plain, err := p.terminal.hidden(ctx, fmt.Sprintf("New password of %s: ", name))
	if err != nil {
		return nil, err
	}
	again, err := p.terminal.hidden(ctx, "Repeat: ")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(plain, again) {
		return nil, errors.New("the two passwords differ; nothing was changed")
	}
	return plain, nil
}

// write puts the password into the Secret, and after that names the Secret in the spec where that names none.
func (p *passwordSetter) write(ctx context.Context, kube client.Client, u *v1alpha1.ShardingUser, source v1alpha1.PasswordSource,
	secret *corev1.Secret, plain []byte,
) error {
	value := plain
	if bytes.HasSuffix(value, []byte("\n")) { // is meant, and the operator drops one
		value = append(bytes.Clone(value), '\n')
	}
	if source.Format == v1alpha1.PasswordFormatBcrypt {
		hash, err := password.NewHasher(p.cost, 1).Hash(ctx, plain)
		if err != nil {
			return err
		}
		value = []byte(hash)
	}
	base := secret.DeepCopy()
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	secret.Data[source.SecretRef.Key] = value
	var err error
	if base.UID == "" {
		if source.Generate != nil { // programs look for what the operator would have put there
			secret.Type, secret.Data[corev1.BasicAuthUsernameKey] = corev1.SecretTypeBasicAuth, []byte(user.Username(u))
		}
		err = kube.Create(ctx, secret)
	} else {
		// A program that changed it since it was read may manage it.
		err = kube.Patch(ctx, secret, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{}))
	}
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("%s was changed by another program at the same time; try again", called(secret))
	}
	if err != nil || u.Spec.Password != nil {
		return err
	}
	was := u.DeepCopy()
	u.Spec.Password = &source
	return kube.Patch(ctx, u, client.MergeFrom(was))
}

func (p *passwordSetter) tell(u *v1alpha1.ShardingUser, source v1alpha1.PasswordSource, w written, plain []byte) error {
	if p.output.structured() {
		w.Namespace, w.Name, w.Secret, w.Key, w.Format = u.Namespace, u.Name, source.SecretRef.Name, source.SecretRef.Key, source.Format
		if p.generate != 0 {
			w.Password = string(plain)
		}
		return p.output.value(p.Out, w)
	}
	out := p.Out
	if p.generate != 0 {
		p.Out.say("%s", plain) // and nothing else, so that a script can take it
		out = p.ErrOut
	}
	out.say("%s has a new password, in secret/%s", called(u), source.SecretRef.Name)
	return nil
}
