// SPDX-License-Identifier: Apache-2.0

package login

import (
	"encoding/json"
	"net/http"
)

// keySetPath is where programs that check tokens look for the keys.
const keySetPath = "/.well-known/jwks.json"

// keySet serves the public keys that verify tokens, as RFC 7517 describes them. It answers 404 if no key is configured.
func (a *api) keySet(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		methodNotAllowed(w, http.MethodGet, http.MethodHead)
		return
	}
	keys := a.s.Tokens.published()
	if len(keys) == 0 {
		notFound.write(w)
		return
	}
	content, err := json.Marshal(map[string][]jwk{"keys": keys})
	if err != nil {
		panic(err) // impossible for strings
	}
	writePublic(w, r, "application/json", content)
}
