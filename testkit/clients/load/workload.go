package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
)

// workload is who asks: one key and one CSR for all calls, as making them is not what is measured.
type workload struct {
	key      *ecdsa.PrivateKey
	request  []byte
	spiffeID string
}

func newWorkload(trustDomain, namespace, app string) (*workload, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	csr := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	return &workload{
		key:      key,
		request:  writeRequest(trustDomain, namespace, app, csr),
		spiffeID: fmt.Sprintf("spiffe://%s/ns/%s/%s", trustDomain, namespace, app),
	}, nil
}

// check verifies an answer against the trust anchors that it names and against those known before, and returns the
// SHA-256 of the certificate that signed the leaf.
func (w *workload) check(r response, known *x509.CertPool) (issuer string, err error) {
	certificates, err := parseAll(r.certificate)
	if err != nil {
		return "", err
	}
	leaf, intermediates := certificates[0], x509.NewCertPool()
	for _, each := range certificates[1:] {
		intermediates.AddCert(each)
	}
	named := x509.NewCertPool()
	for _, each := range r.anchors {
		if !named.AppendCertsFromPEM(each) {
			return "", errors.New("trust anchors that are no PEM certificates")
		}
	}
	if _, err := verify(leaf, intermediates, known); err != nil {
		return "", fmt.Errorf("the leaf, by the trust anchors known before: %w", err)
	}
	chains, err := verify(leaf, intermediates, named)
	if err != nil {
		return "", fmt.Errorf("the leaf, by the trust anchors of the answer: %w", err)
	}
	if !w.key.PublicKey.Equal(leaf.PublicKey) {
		return "", errors.New("the leaf is for another key")
	}
	sum := sha256.Sum256(chains[0][1].Raw)
	return hex.EncodeToString(sum[:]), hasIdentity(leaf, w.spiffeID)
}

func parseAll(data []byte) ([]*x509.Certificate, error) {
	var found []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		found = append(found, certificate)
	}
	if found == nil {
		return nil, errors.New("no certificate in the answer")
	}
	return found, nil
}
