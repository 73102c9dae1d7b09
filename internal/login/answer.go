// SPDX-License-Identifier: Apache-2.0

package login

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
)

// refusal is an error response in the format of the sharding system.
type refusal struct {
	status     int
	code, text string
}

var (
	badRequest    = refusal{http.StatusBadRequest, "BAD_REQUEST", "The body must be a JSON object with username and password"}
	unauthorized  = refusal{http.StatusUnauthorized, "UNAUTHORIZED", "Invalid credentials"}
	notFound      = refusal{http.StatusNotFound, "NOT_FOUND", "Not found"}
	tooManyFields = refusal{http.StatusRequestHeaderFieldsTooLarge, "HEADER_TOO_LARGE", "The request has more than 200 header fields"}
	tooMany       = refusal{http.StatusTooManyRequests, "TOO_MANY_REQUESTS", "Too many logins at once; try again later"}
	internal      = refusal{http.StatusInternalServerError, "INTERNAL_ERROR", "Internal error; see the server's log"}
	unavailable   = refusal{http.StatusServiceUnavailable, "SERVICE_UNAVAILABLE", "Logins are temporarily unavailable; try again later"}
)

func (f refusal) write(w http.ResponseWriter) {
	type body struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	writeJSON(w, f.status, map[string]body{"error": {f.code, f.text}})
}

// methodNotAllowed rejects a method that is not one of the path's.
func methodNotAllowed(w http.ResponseWriter, methods ...string) {
	allowed := strings.Join(methods, ", ")
	w.Header().Set("Allow", allowed)
	refusal{http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "Method not allowed; allowed methods: " + allowed}.write(w)
}

// refusalOf returns the response to an attempt that did not succeed, and sets its header.
func refusalOf(result Result, header http.Header) refusal {
	switch result.Outcome {
	case Busy, Throttled:
		seconds := max(1, int(math.Ceil(result.RetryAfter.Seconds())))
		header.Set("Retry-After", strconv.Itoa(seconds))
		return tooMany
	case Unavailable, Abandoned:
		return unavailable
	default:
		return unauthorized
	}
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	content, err := json.Marshal(body)
	if err != nil {
		panic(err) // impossible for strings and lists of strings
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(status)
	_, _ = w.Write(content) // fails only if the client is gone
}
