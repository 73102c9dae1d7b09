// SPDX-License-Identifier: Apache-2.0

package login

import (
	_ "embed"
	"net/http"
	"strconv"
)

const documentPath = "/openapi.yaml"

// openAPI describes the API, itself included.
//
//go:embed openapi.yaml
var openAPI []byte

// document serves the description of the API without authentication, since the public repository has it too.
func document(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		methodNotAllowed(w, http.MethodGet, http.MethodHead)
		return
	}
	writePublic(w, r, "application/yaml", openAPI)
}

// writePublic answers GET or HEAD with content that anybody may keep for five minutes.
func writePublic(w http.ResponseWriter, r *http.Request, contentType string, content []byte) {
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		_, _ = w.Write(content) // fails only if the client is gone
	}
}
