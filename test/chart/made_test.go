// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"slices"
	"testing"

	"github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
)

// made is what the chart renders for some values.
type made struct {
	*gomega.WithT
	objects
	t *testing.T
}

// cases are values without an equivalent in config/, with what the chart renders for them. config_test.go has all
// others.
type cases map[string]struct {
	values string
	check  func(m made)
}

func (all cases) check(t *testing.T) {
	t.Helper()
	for name, test := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.check(made{WithT: gomega.NewWithT(t), t: t, objects: render(t, "--values="+values(t, test.values))})
		})
	}
}

// secretsVerbs returns the verbs that rules allow on Secrets.
func secretsVerbs(rules []rbacv1.PolicyRule) (verbs []string) {
	for _, rule := range rules {
		if slices.Contains(rule.Resources, "secrets") {
			verbs = append(verbs, rule.Verbs...)
		}
	}
	return verbs
}

// secretVolume is one key of a Secret, as one file.
func secretVolume(name, key, path string) corev1.VolumeSource {
	return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name, Items: []corev1.KeyToPath{{Key: key, Path: path}}}}
}

// volume is a volume at the path where the manager expects it.
func (m made) volume(name string) corev1.VolumeSource {
	m.t.Helper()
	m.Expect(manager(m.t, m.objects).VolumeMounts).To(gomega.ContainElement(
		corev1.VolumeMount{Name: name, MountPath: "/etc/shardinguser/" + name, ReadOnly: true}))
	for _, v := range get[appsv1.Deployment](m.t, m.objects, deploymentName).Spec.Template.Spec.Volumes {
		if v.Name == name {
			return v.VolumeSource
		}
	}
	m.t.Fatalf("there is no volume %s", name)
	return corev1.VolumeSource{}
}

func (m made) environment() map[string]string {
	m.t.Helper()
	variables := map[string]string{}
	for _, v := range manager(m.t, m.objects).Env {
		variables[v.Name] = v.Value
	}
	return variables
}

func (m made) flags() map[string]string {
	m.t.Helper()
	return flagsOf(manager(m.t, m.objects).Args)
}
