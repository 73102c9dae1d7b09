// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sharding-system/shardinguser-operator/api/v1alpha1"
	"github.com/sharding-system/shardinguser-operator/internal/cli/importer"
)

type importCommand struct {
	*env
	output     output
	database   database
	directory  string
	single     bool
	apply      bool
	dryRun     bool
	secrets    string
	deletion   string
	conversion importer.Conversion
}

func newImport(e *env) *cobra.Command {
	i := &importCommand{env: e}
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Create manifests from the rows of an existing table",
		Long: `Create manifests from the rows of an existing table. Each row becomes a ShardingUser that adopts the row, and a Secret with the
hash of the row, so that users keep their passwords.

Manifests go to the standard output, to files (--directory), or to the cluster (--apply). --dry-run writes nothing and shows what
would change; its exit code is 1 if there are changes. A second run changes nothing. Manifests without a row stay, and so do your
additions to a manifest, such as labels or spec.password.maxAge. If a user has spec.password.generate, the operator generates the
password and the hash is not imported.

If a username is not a valid resource name, the resource gets a name that depends only on the username: Alice@Example.com becomes
alice-example-com-x and ten digits. spec.username contains the username. Import reports a row as

  owned        if a resource already owns it
  left out     if a ShardingUser cannot have its username or one of its roles; the exit code is then 3
  no password  if it has no password, like an OAuth user, or no hash that the operator accepts: the manifest then has no
               spec.password, and the operator does not change the hash in the row

Roles that are NULL, or the JSON value null, count as no roles.

Password hashes are confidential. Only the owner can read files with hashes (mode 0600). Do not put them into Git unencrypted.

` + aboutDSN,
		Example: `  # Preview the changes
  kubectl shardinguser import --dsn-file ./dsn.txt --dry-run -n team-a

  # For Git: one file per user, with separate Secrets
  kubectl shardinguser import --dsn-file ./dsn.txt --directory ./accounts -n team-a

  # Apply to the cluster directly
  kubectl shardinguser import --dsn-file ./dsn.txt --apply -n team-a`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(cmd *cobra.Command, _ []string) error { return i.run(cmd.Context()) },
	}
	i.output.bind(cmd, asJSON, asYAML)
	i.database.bind(cmd)
	flags := cmd.Flags()
	flags.StringVar(&i.directory, "directory", "", "Write files into this directory: users/NAME.yaml and secrets/NAME.yaml")
	flags.BoolVar(&i.single, "single-file", false, "With --directory: write users.yaml and secrets.yaml instead")
	flags.BoolVar(&i.apply, "apply", false, "Apply the manifests to the cluster")
	flags.BoolVar(&i.dryRun, "dry-run", false, "Write nothing; show what would change in the directory, or without one in the cluster")
	flags.StringVar(&i.secrets, "secrets", "", "Where to write the hashes: skip (nowhere), inline (with the user) or separate (in separate files; the default with --directory)")
	flags.StringVar(&i.conversion.System, "system", "", "spec.system of the users, if the database is that of a named sharding system; a prefix of their names")
	flags.StringVar(&i.deletion, "deletion-policy", string(v1alpha1.DeletionRetain), "spec.deletionPolicy of the users: Retain, Deactivate or Delete")
	flags.BoolVar(&i.conversion.IncludeOwned, "include-owned", false, "Include rows that a resource already owns")
	flags.BoolVar(&i.conversion.DropRoles, "drop-illegal-roles", false, "Import rows with roles that a ShardingUser cannot have, without these roles")
	cmd.MarkFlagsMutuallyExclusive("directory", "apply")
	complete(cmd, "secrets", words(string(importer.SecretsSkip), string(importer.SecretsInline), string(importer.SecretsSeparate)))
	complete(cmd, "deletion-policy", words(deletionPolicies...))
	if err := cmd.MarkFlagDirname("directory"); err != nil {
		panic(err) // the flag was just added
	}
	return cmd
}

var deletionPolicies = []string{
	string(v1alpha1.DeletionRetain), string(v1alpha1.DeletionDeactivate), string(v1alpha1.DeletionDelete),
}

// imported is the report for programs.
type imported struct {
	Rows    int               `json:"rows"`
	Users   int               `json:"users"` // of which there are manifests
	Secrets int               `json:"secrets"`
	LeftOut int               `json:"leftOut"` // rows that no ShardingUser can be made of
	DryRun  bool              `json:"dryRun"`
	Changes []importer.Change `json:"changes"`
	Remarks []importer.Remark `json:"remarks"`
}

func (i *importCommand) run(ctx context.Context) error {
	secrets, err := i.check()
	if err != nil {
		return err
	}
	db, err := i.database.open() //nolint:contextcheck // opening waits for nothing
	if err != nil {
		return err
	}
	defer db.Close()
	to, err := i.target(secrets)
	if err != nil {
		return err
	}
	accounts, err := db.Accounts(ctx)
	if err != nil {
		return err
	}
	entries, remarks := i.conversion.Convert(accounts)
	report := imported{Rows: len(accounts), Users: len(entries), DryRun: i.dryRun}
	for _, e := range entries {
		if e.HasSecret() && secrets != importer.SecretsSkip {
			report.Secrets++
		}
	}

	var more []importer.Remark
	switch {
	case to == nil:
		err = i.print(entries, secrets)
	case i.dryRun:
		report.Changes, more, err = to.Changes(ctx, entries)
	default:
		report.Changes, more, err = to.Write(ctx, entries)
	}
	slices.SortFunc(more, func(a, b importer.Remark) int { return strings.Compare(a.Username, b.Username) })
	report.Remarks = append(remarks, more...)
	for _, r := range report.Remarks {
		if r.Kind == importer.LeftOut {
			report.LeftOut++
		}
	}
	if err := i.tell(report, to != nil); err != nil {
		return err
	}
	found := judge(report)
	if err != nil && !isFinding(found) {
		return err
	}
	return errors.Join(err, found)
}

// check refuses what does not go together, and returns what becomes of the hashes.
func (i *importCommand) check() (importer.SecretsMode, error) {
	if err := i.output.check(); err != nil {
		return "", err
	}
	if !slices.Contains(deletionPolicies, i.deletion) {
		return "", fmt.Errorf("--deletion-policy must be one of %s", strings.Join(deletionPolicies, ", "))
	}
	i.conversion.Deletion = v1alpha1.DeletionPolicy(i.deletion)
	if i.single && i.directory == "" {
		return "", errors.New("--single-file requires --directory")
	}
	secrets := importer.SecretsMode(i.secrets)
	switch secrets {
	case "":
		if secrets = importer.SecretsInline; i.directory != "" {
			secrets = importer.SecretsSeparate
		}
	case importer.SecretsSeparate:
		if i.directory == "" {
			return "", errors.New("--secrets=separate requires --directory, because there is only one standard output")
		}
	case importer.SecretsSkip, importer.SecretsInline:
	default:
		return "", errors.New("--secrets must be one of skip, inline, separate")
	}
	return secrets, nil
}

// target is where the manifests go; nil for the standard output, which needs no cluster.
func (i *importCommand) target(secrets importer.SecretsMode) (importer.Target, error) {
	if given := i.flags.Namespace; given != nil {
		i.conversion.Namespace = *given
	}
	switch {
	case i.directory != "":
		return importer.Directory{Path: i.directory, Secrets: secrets, Single: i.single}, nil
	case !i.apply && !i.dryRun:
		return nil, nil //nolint:nilnil // see above
	}
	kube, namespace, err := i.cluster()
	if err != nil {
		return nil, err
	}
	i.conversion.Namespace = namespace
	return importer.Cluster{Kube: kube, Namespace: namespace, Secrets: secrets != importer.SecretsSkip}, nil
}

// print writes all manifests to the standard output.
func (i *importCommand) print(entries []importer.Entry, secrets importer.SecretsMode) error {
	all := []map[string]any{}
	for _, e := range entries {
		manifests, err := e.Manifests(secrets == importer.SecretsInline)
		if err != nil {
			return err
		}
		all = append(all, manifests...)
	}
	if i.output.format == asJSON {
		return i.output.value(i.Out, map[string]any{"apiVersion": "v1", "kind": "List", "items": all})
	}
	var b strings.Builder
	for _, manifest := range all {
		text, err := safeYAML(manifest)
		if err != nil {
			return err
		}
		b.WriteString("---\n" + text)
	}
	_, err := io.WriteString(i.Out, b.String())
	return err
}

// tell reports; to programs only where the standard output is free for that.
func (i *importCommand) tell(report imported, free bool) error {
	if free && i.output.structured() {
		if report.Changes == nil {
			report.Changes = []importer.Change{}
		}
		if report.Remarks == nil {
			report.Remarks = []importer.Remark{}
		}
		return i.output.value(i.Out, report)
	}
	for _, r := range report.Remarks {
		i.ErrOut.say("%v", r)
	}
	for _, c := range report.Changes {
		i.Out.say("%s", told(c, report.DryRun))
	}
	summarize(i.ErrOut, report, free)
	if i.directory != "" && report.Secrets > 0 && len(report.Changes) > 0 && !report.DryRun {
		i.ErrOut.say("Files in %s contain password hashes, which are confidential. Seal or encrypt them before you move them.", i.directory)
	}
	return nil
}

// told is a change as people read it.
func told(c importer.Change, dryRun bool) string {
	made := map[string]string{importer.Create: "created", importer.Update: "changed"}[c.Action]
	if dryRun {
		made = map[string]string{importer.Create: "would be created", importer.Update: "would be changed"}[c.Action]
	}
	if len(c.Fields) > 0 {
		return fmt.Sprintf("%s %s: %s", c.Object, made, strings.Join(c.Fields, ", "))
	}
	return c.Object + " " + made
}

func summarize(w *stream, report imported, changes bool) {
	count := map[importer.RemarkKind]int{}
	for _, r := range report.Remarks {
		count[r.Kind]++
	}
	changed := ""
	if changes {
		changed = fmt.Sprintf(" %d changes.", len(report.Changes))
	}
	w.say("%d rows: %d users, %d of them without a password; %d rows already belong to resources, %d are skipped.%s",
		report.Rows, report.Users, count[importer.WithoutPassword], count[importer.Owned], report.LeftOut, changed)
}

// judge says whether the exit code is that of a finding.
func judge(report imported) error {
	refused := 0
	for _, r := range report.Remarks {
		if r.Kind == importer.NotApplied {
			refused++
		}
	}
	switch {
	case refused > 0:
		return findingf("%d changes could not be applied, see above.", refused)
	case report.LeftOut > 0:
		return leftOutRows(report.LeftOut)
	case report.DryRun && len(report.Changes) > 0:
		return finding("")
	}
	return nil
}
