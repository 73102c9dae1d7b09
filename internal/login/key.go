// SPDX-License-Identifier: Apache-2.0

package login

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// MinSecretBytes is the smallest length of a secret: the output size of HMAC-SHA256.
	MinSecretBytes = 32

	// minRSABits is the smallest size of an RSA key, as RFC 7518 section 3.3 requires.
	minRSABits = 2048
)

var (
	// ErrShortSecret reports that a signing secret is too short.
	ErrShortSecret = fmt.Errorf("the signing secret is shorter than %d bytes; create one with `openssl rand -base64 48`", MinSecretBytes)

	errNoKey = fmt.Errorf("the signing key is not one PEM block with an unencrypted private key: Ed25519, ECDSA P-256, or RSA of at least %d bits; "+
		"create one with `openssl genpkey -algorithm ed25519`", minRSABits)
)

// key signs and verifies tokens by one algorithm. It is a shared secret or an asymmetric key.
type key struct {
	method       jwt.SigningMethod
	sign, verify any // as method takes them
	public       jwk // without a kid for a secret

	// mark is the key of the password's digest in the header of a token.
	mark []byte
}

// isSecret reports whether the key is a shared secret, which is not published.
func (k key) isSecret() bool { return k.public.ID == "" }

// parseSecret returns the secret that a file holds.
func parseSecret(content []byte) (key, error) {
	if err := CheckSecret(content); err != nil {
		return key{}, err
	}
	secret := slices.Clone(trimNewline(content))
	return key{method: jwt.SigningMethodHS256, sign: secret, verify: secret, mark: secret}, nil
}

// CheckSecret returns an error if the contents of a file cannot be a signing secret.
func CheckSecret(content []byte) error {
	switch {
	case len(trimNewline(content)) < MinSecretBytes:
		return ErrShortSecret
	case isPEM(content): // its public part is no secret, and a file of it would be one
		return errors.New("the file of the signing secret holds a PEM block; name a file of a signing key by --jwt-signing-key-file")
	}
	return nil
}

// trimNewline returns the content without one trailing newline. A carriage return before it stays: existing secrets may have one.
func trimNewline(content []byte) []byte { return bytes.TrimSuffix(content, []byte("\n")) }

// isPEM reports whether a file holds a key rather than a secret.
func isPEM(content []byte) bool { return bytes.Contains(content, []byte("-----BEGIN ")) }

// parseEither returns the secret or the key that a file holds.
func parseEither(content []byte) (key, error) {
	if isPEM(content) {
		return parseKey(content)
	}
	return parseSecret(content)
}

// parseKey returns the private key that a PEM file holds, in PKCS #8, SEC 1 or PKCS #1. Errors do not quote the content.
func parseKey(content []byte) (key, error) {
	block, rest := pem.Decode(content)
	if block != nil && block.Type == "EC PARAMETERS" { // which openssl ecparam writes before a key
		block, rest = pem.Decode(rest)
	}
	if block == nil || isPEM(rest) {
		return key{}, errNoKey
	}
	private, err := parsePrivate(block)
	if err != nil {
		return key{}, errNoKey
	}
	k, err := newKey(private)
	if err != nil {
		return key{}, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return key{}, errNoKey
	}
	k.mark, err = hkdf.Key(sha256.New, encoded, nil, "shardinguser-operator: the password of a token", sha256.Size)
	return k, err
}

func parsePrivate(block *pem.Block) (any, error) {
	switch block.Type {
	case "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	}
	return nil, errNoKey
}

// newKey returns a key of the algorithm that belongs to the kind of the private key, so that a token cannot choose another one.
func newKey(private any) (key, error) {
	switch private := private.(type) {
	case ed25519.PrivateKey:
		return asymmetric(jwt.SigningMethodEdDSA, private)
	case *ecdsa.PrivateKey:
		if private.Curve == elliptic.P256() {
			return asymmetric(jwt.SigningMethodES256, private)
		}
	case *rsa.PrivateKey:
		if private.N.BitLen() >= minRSABits {
			return asymmetric(jwt.SigningMethodRS256, private)
		}
	}
	return key{}, errNoKey
}

// asymmetric returns the key of an algorithm, with its public part.
func asymmetric(method jwt.SigningMethod, private crypto.Signer) (key, error) {
	public, err := newJWK(private.Public())
	public.Algorithm = method.Alg()
	return key{method: method, sign: private, verify: private.Public(), public: public}, err
}

// jwk is a public key as RFC 7517 describes it. The thumbprint of RFC 7638 is its ID, so replicas agree on it.
type jwk struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv,omitempty"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
	Modulus   string `json:"n,omitempty"`
	Exponent  string `json:"e,omitempty"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"`
}

func newJWK(public crypto.PublicKey) (jwk, error) {
	encode := base64.RawURLEncoding.EncodeToString
	j := jwk{Use: "sig"}
	var members any // the required ones, in the order of their names
	switch public := public.(type) {
	case ed25519.PublicKey:
		j.Type, j.Curve, j.X = "OKP", "Ed25519", encode(public)
		members = struct {
			Curve string `json:"crv"`
			Type  string `json:"kty"`
			X     string `json:"x"`
		}{j.Curve, j.Type, j.X}
	case *ecdsa.PublicKey:
		point, err := public.Bytes() // 4, x, y
		if err != nil {
			return jwk{}, errNoKey
		}
		size := (len(point) - 1) / 2
		j.Type, j.Curve, j.X, j.Y = "EC", "P-256", encode(point[1:1+size]), encode(point[1+size:])
		members = struct {
			Curve string `json:"crv"`
			Type  string `json:"kty"`
			X     string `json:"x"`
			Y     string `json:"y"`
		}{j.Curve, j.Type, j.X, j.Y}
	case *rsa.PublicKey:
		j.Type, j.Modulus, j.Exponent = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
		members = struct {
			Exponent string `json:"e"`
			Type     string `json:"kty"`
			Modulus  string `json:"n"`
		}{j.Exponent, j.Type, j.Modulus}
	}
	encoded, err := json.Marshal(members)
	if err != nil {
		return jwk{}, err
	}
	digest := sha256.Sum256(encoded)
	j.ID = encode(digest[:])
	return j, nil
}
