// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// The paths of the login API.
const (
	LoginPath  = "/api/v1/auth/login"
	VerifyPath = "/api/v1/auth/verify"
)

// An Answer is a response of the login API.
type Answer struct {
	Status int
	Header http.Header
	Body   string
	Closes bool // the connection, after this response
}

// LogIn sends a username and a password to the login API.
func (m *Manager) LogIn(ctx context.Context, username, password string) (Answer, error) {
	body, err := json.Marshal(map[string]string{"username": username, "password": password})
	if err != nil {
		return Answer{}, fmt.Errorf("log in: %w", err)
	}
	return m.Ask(ctx, http.MethodPost, LoginPath, string(body), "")
}

// Verify asks, as a gateway does, whether a request with this Authorization header is allowed.
func (m *Manager) Verify(ctx context.Context, authorization string) (Answer, error) {
	return m.Ask(ctx, http.MethodGet, VerifyPath, "", authorization)
}

// Ask sends one request to the login API. It reuses connections. The body and the Authorization header may be empty.
func (m *Manager) Ask(ctx context.Context, method, path, body, authorization string) (Answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, "https://"+m.Login+path, strings.NewReader(body))
	if err != nil {
		return Answer{}, fmt.Errorf("send a request to the login API: %w", err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := web.Do(request)
	if err != nil {
		return Answer{}, fmt.Errorf("send a request to the login API: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return Answer{}, fmt.Errorf("send a request to the login API: %w", err)
	}
	return Answer{Status: response.StatusCode, Header: response.Header, Body: string(content), Closes: response.Close}, nil
}
