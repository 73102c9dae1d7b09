// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"net/http"
	"strings"
	"testing"
)

// greeting is a site without files.
func greeting(address string) string {
	return `server { listen ` + address + `; location / { return 200 "hello"; } }`
}

func TestNginxServesTheSite(t *testing.T) {
	n, err := StartNginx(t.Context(), greeting, nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, body := Get(t.Context(), "http://"+n.Address, ""); status != http.StatusOK || body != "hello" {
		t.Errorf("nginx answers %d %s", status, body)
	}
	for range 2 {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	}
	if status, _ := Get(t.Context(), "http://"+n.Address, ""); status != 0 {
		t.Error("nginx answers after Stop")
	}
}

func TestNginxErrorNamesTheUnknownDirective(t *testing.T) {
	_, err := StartNginx(t.Context(), func(string) string { return "no_such_directive on;" }, nil)
	if err == nil || !strings.Contains(err.Error(), "no_such_directive") {
		t.Errorf("got the error %v", err)
	}
}

func TestMissingNginxIsReported(t *testing.T) {
	t.Setenv("NGINX", "/nowhere/nginx")
	_, err := StartNginx(t.Context(), greeting, nil)
	if err == nil || err.Error() != "NGINX is /nowhere/nginx, which is not a program" {
		t.Errorf("got the error %v", err)
	}
}
