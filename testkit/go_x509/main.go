// Command go_x509 answers how Go's crypto/x509 reads certificates and requests.
//
// Each line of standard input is "certificate" or "request", a space, and DER in base64. Each line of standard output
// is a JSON object: the error, or the fields as they were read. A request is refused, too, if its signature is wrong.
// With "verify", the time in seconds since 1970, the number of roots, the leaf, the roots and the intermediates follow,
// each after a space; the answer is the error of verifying the leaf at that time as a server's certificate.
package main

import (
	"bufio"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"time"
)

type answer struct {
	Error          string   `json:"error,omitempty"`
	Version        int      `json:"version,omitempty"`
	Serial         string   `json:"serial,omitempty"`
	Issuer         []byte   `json:"issuer,omitempty"`
	Subject        []byte   `json:"subject,omitempty"`
	NotBefore      string   `json:"not_before,omitempty"`
	NotAfter       string   `json:"not_after,omitempty"`
	PublicKeyInfo  []byte   `json:"public_key_info,omitempty"`
	HasKey         bool     `json:"has_key,omitempty"`
	HasConstraints bool     `json:"has_constraints,omitempty"`
	IsCA           bool     `json:"is_ca,omitempty"`
	PathLength     int      `json:"path_length,omitempty"`
	KeyUsage       int      `json:"key_usage,omitempty"`
	SubjectKeyID   []byte   `json:"subject_key_id,omitempty"`
	AuthorityKeyID []byte   `json:"authority_key_id,omitempty"`
	DNSNames       []string `json:"dns_names,omitempty"`
	URIs           []string `json:"uris,omitempty"`
	PermittedDNS   []string `json:"permitted_dns,omitempty"`
	ExcludedDNS    []string `json:"excluded_dns,omitempty"`
	PermittedURIs  []string `json:"permitted_uris,omitempty"`
	ExcludedURIs   []string `json:"excluded_uris,omitempty"`
	Unhandled      []string `json:"unhandled,omitempty"`
	SelfSigned     bool     `json:"self_signed,omitempty"`
}

func certificate(der []byte) answer {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return answer{Error: err.Error()}
	}
	a := answer{
		Version: c.Version, Serial: c.SerialNumber.String(), Issuer: c.RawIssuer, Subject: c.RawSubject,
		NotBefore: c.NotBefore.UTC().Format(time.RFC3339), NotAfter: c.NotAfter.UTC().Format(time.RFC3339),
		PublicKeyInfo: c.RawSubjectPublicKeyInfo, HasKey: c.PublicKey != nil,
		HasConstraints: c.BasicConstraintsValid, IsCA: c.IsCA, PathLength: c.MaxPathLen, KeyUsage: int(c.KeyUsage),
		SubjectKeyID: c.SubjectKeyId, AuthorityKeyID: c.AuthorityKeyId, DNSNames: c.DNSNames,
		PermittedDNS: c.PermittedDNSDomains, ExcludedDNS: c.ExcludedDNSDomains,
		PermittedURIs: c.PermittedURIDomains, ExcludedURIs: c.ExcludedURIDomains,
		SelfSigned: c.CheckSignatureFrom(c) == nil,
	}
	for _, uri := range c.URIs {
		a.URIs = append(a.URIs, uri.String())
	}
	for _, oid := range c.UnhandledCriticalExtensions {
		a.Unhandled = append(a.Unhandled, oid.String())
	}
	return a
}

func request(der []byte) answer {
	r, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = r.CheckSignature()
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	info, err := x509.MarshalPKIXPublicKey(r.PublicKey)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{PublicKeyInfo: info}
}

func decode(texts []string) [][]byte {
	var ders [][]byte
	for _, each := range texts {
		der, err := base64.StdEncoding.DecodeString(each)
		if err != nil {
			panic(err)
		}
		ders = append(ders, der)
	}
	return ders
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func verify(seconds int64, roots int, ders [][]byte) answer {
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: time.Unix(seconds, 0),
	}
	var leaf *x509.Certificate
	for i, der := range ders {
		c, err := x509.ParseCertificate(der)
		switch {
		case err != nil:
			return answer{Error: err.Error()}
		case i == 0:
			leaf = c
		case i <= roots:
			options.Roots.AddCert(c)
		default:
			options.Intermediates.AddCert(c)
		}
	}
	if _, err := leaf.Verify(options); err != nil {
		return answer{Error: err.Error()}
	}
	return answer{}
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		words := strings.Split(lines.Text(), " ")
		var found answer
		switch words[0] {
		case "request":
			found = request(decode(words[1:])[0])
		case "verify":
			found = verify(number(words[1]), int(number(words[2])), decode(words[3:]))
		default:
			found = certificate(decode(words[1:])[0])
		}
		if err := out.Encode(found); err != nil {
			panic(err)
		}
	}
}
