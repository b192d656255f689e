// Command go makes go.pem and step.pem: certificates and requests of Go's crypto/x509 and of step's x509util.
package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"time"

	"go.step.sm/crypto/x509util"
)

const data = "../../data/foreign/"

var (
	from = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	to   = time.Date(2049, 1, 1, 0, 0, 0, 0, time.UTC)
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

type file struct{ bytes.Buffer }

func (f *file) add(name, label string, der []byte) {
	fmt.Fprintf(f, "# %s\n", name)
	pem.Encode(f, &pem.Block{Type: label, Bytes: der})
}

func p256() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

func template() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "Foreign"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

func uri(text string) *url.URL { return must(url.Parse(text)) }

func network(text string) *net.IPNet {
	_, made, err := net.ParseCIDR(text)
	return must(made, err)
}

func makeGo() *file {
	out := &file{}
	add := func(name string, key crypto.Signer, change func(*x509.Certificate)) {
		t := template()
		change(t)
		out.add(name, "CERTIFICATE", must(x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)))
	}
	keep := func(*x509.Certificate) {}
	add("plain", p256(), keep)
	add("p224", must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader)), keep)
	add("p384", must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)), keep)
	add("p521", must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)), keep)
	_, ed := func() (ed25519.PublicKey, ed25519.PrivateKey) {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		return must(public, err), private
	}()
	add("ed25519", ed, keep)
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	add("rsa", rsaKey, keep)
	add("rsa pss", rsaKey, func(t *x509.Certificate) { t.SignatureAlgorithm = x509.SHA384WithRSAPSS })
	add("path length 0", p256(), func(t *x509.Certificate) { t.MaxPathLenZero = true })
	add("path length 5", p256(), func(t *x509.Certificate) { t.MaxPathLen = 5 })
	add("no basic constraints", p256(), func(t *x509.Certificate) { t.IsCA, t.BasicConstraintsValid = false, false })
	add("no ca", p256(), func(t *x509.Certificate) { t.IsCA = false })
	add("names", p256(), func(t *x509.Certificate) {
		t.DNSNames, t.EmailAddresses = []string{"a.example", "*.b"}, []string{"a@b.example"}
		t.IPAddresses, t.URIs = []net.IP{net.IPv4(192, 0, 2, 1)}, []*url.URL{uri("spiffe://td/ns/x")}
	})
	add("empty subject with names", p256(), func(t *x509.Certificate) {
		t.Subject, t.DNSNames = pkix.Name{}, []string{"a.example"}
	})
	add("name constraints of all kinds", p256(), func(t *x509.Certificate) {
		t.PermittedDNSDomainsCritical = true
		t.PermittedDNSDomains, t.ExcludedDNSDomains = []string{"svc", ".example"}, []string{"bad.example"}
		t.PermittedURIDomains, t.ExcludedURIDomains = []string{".example", "td"}, []string{"bad"}
		t.PermittedEmailAddresses, t.ExcludedEmailAddresses = []string{"a@b.example"}, []string{".c.example"}
		t.PermittedIPRanges = []*net.IPNet{network("192.0.2.0/24")}
		t.ExcludedIPRanges = []*net.IPNet{network("2001:db8::/32")}
	})
	add("revocation and issuer urls", p256(), func(t *x509.Certificate) {
		t.CRLDistributionPoints, t.OCSPServer = []string{"http://c/"}, []string{"http://o/"}
		t.IssuingCertificateURL = []string{"http://i/"}
	})
	add("policies", p256(), func(t *x509.Certificate) {
		t.Policies = []x509.OID{must(x509.OIDFromInts([]uint64{1, 2, 3})), must(x509.OIDFromInts([]uint64{1, 2, 1 << 40}))}
	})
	add("usages", p256(), func(t *x509.Certificate) {
		t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
		t.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3, 4}}
	})
	add("serial of 20 octets", p256(), func(t *x509.Certificate) {
		t.SerialNumber = new(big.Int).SetBytes(bytes.Repeat([]byte{0x7f}, 20))
	})
	add("after 2050", p256(), func(t *x509.Certificate) { t.NotAfter = to.AddDate(50, 0, 0) })
	add("unknown critical extension", p256(), func(t *x509.Certificate) {
		t.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
	})
	add("multi-valued name", p256(), func(t *x509.Certificate) {
		t.Subject = pkix.Name{CommonName: "a", Organization: []string{"b", "c"}, OrganizationalUnit: []string{"d", "e"}}
	})
	request := func(name string, key crypto.Signer, r *x509.CertificateRequest) {
		out.add("request "+name, "CERTIFICATE REQUEST", must(x509.CreateCertificateRequest(rand.Reader, r, key)))
	}
	request("plain", p256(), &x509.CertificateRequest{Subject: pkix.Name{CommonName: "app"}})
	request("empty", p256(), &x509.CertificateRequest{})
	request("ed25519", ed, &x509.CertificateRequest{})
	request("rsa pss", rsaKey, &x509.CertificateRequest{SignatureAlgorithm: x509.SHA256WithRSAPSS})
	request("names", p256(), &x509.CertificateRequest{DNSNames: []string{"a"}, URIs: []*url.URL{uri("spiffe://td/x")}})
	return out
}

// Templates of step's own manner, with parts of its default and its SSH-less examples.
var templates = map[string]string{
	"default leaf (leaf)": x509util.DefaultLeafTemplate,
	"intermediate":        x509util.DefaultIntermediateTemplate,
	"root":                x509util.DefaultRootTemplate,
	"path length 0":       `{"subject":{"commonName":"Foreign"},"basicConstraints":{"isCA":true,"maxPathLen":0},"keyUsage":["certSign"]}`,
	"name constraints":    `{"subject":"Foreign","basicConstraints":{"isCA":true,"maxPathLen":-1},"keyUsage":"certSign","nameConstraints":{"critical":true,"permittedDNSDomains":["svc"],"permittedURIDomains":["td.example"],"excludedIPRanges":["10.0.0.0/8"],"permittedEmailAddresses":"example"}}`,
	"sans of all kinds":   `{"subject":"Foreign","basicConstraints":{"isCA":true},"keyUsage":"certSign","sans":[{"type":"dns","value":"a.example"},{"type":"uri","value":"spiffe://td/x"},{"type":"ip","value":"192.0.2.1"},{"type":"email","value":"a@b.example"},{"type":"registeredID","value":"1.2.3"},{"type":"permanentIdentifier","value":"123"},{"type":"1.2.3.4","value":"utf8:other"}]}`,
	"extensions":          `{"subject":"Foreign","basicConstraints":{"isCA":true},"keyUsage":"certSign","extensions":[{"id":"1.2.3.4","critical":false,"value":"BQA="}],"crlDistributionPoints":["http://c/"],"ocspServer":["http://o/"],"issuingCertificateURL":["http://i/"],"policyIdentifiers":["1.2.3"]}`,
	"key usages":          `{"subject":"Foreign","basicConstraints":{"isCA":true},"keyUsage":["certSign","digitalSignature","keyEncipherment"],"extKeyUsage":["serverAuth","clientAuth"],"unknownExtKeyUsage":["1.2.3"]}`,
	"many attributes":     `{"subject":{"country":"DE","organization":["A & B","C"],"organizationalUnit":"U","locality":"L","province":"P","streetAddress":"S","postalCode":"1","serialNumber":"7","commonName":"Foreign","extraNames":[{"type":"1.2.3.4","value":"x"}]},"basicConstraints":{"isCA":true},"keyUsage":"certSign"}`,
}

var order = []string{
	"default leaf (leaf)", "intermediate", "root", "path length 0", "name constraints", "sans of all kinds", "extensions",
	"key usages", "many attributes",
}

func makeStep() *file {
	out := &file{}
	for _, name := range order {
		key := p256()
		request := must(x509util.CreateCertificateRequest("Foreign", []string{"a.example", "spiffe://td/x", "a@b.example"}, key))
		out.add("request for "+name, "CERTIFICATE REQUEST", request.Raw)
		values := x509util.CreateTemplateData("Foreign", []string{"a.example"})
		made := must(x509util.NewCertificate(request, x509util.WithTemplate(templates[name], values)))
		t := made.GetCertificate()
		t.NotBefore, t.NotAfter = from, to
		signed := must(x509util.CreateCertificate(t, t, key.Public(), key))
		out.add(name, "CERTIFICATE", signed.Raw)
	}
	// The same templates for the key of issuer.key, signed by the root.
	root, rootKey := load("root.crt"), must(x509.ParsePKCS8PrivateKey(read("root.key")))
	issuerKey := must(x509.ParsePKCS8PrivateKey(read("issuer.key"))).(crypto.Signer)
	for _, name := range []string{"intermediate", "path length 0", "name constraints", "extensions"} {
		request := must(x509util.CreateCertificateRequest("Issuer", nil, issuerKey))
		values := x509util.CreateTemplateData("Issuer", nil)
		t := must(x509util.NewCertificate(request, x509util.WithTemplate(templates[name], values))).GetCertificate()
		t.NotBefore, t.NotAfter = from, to
		signed := must(x509util.CreateCertificate(t, root, issuerKey.Public(), rootKey.(crypto.Signer)))
		out.add("issuer "+name, "CERTIFICATE", signed.Raw)
	}
	return out
}

func read(name string) []byte {
	block, _ := pem.Decode(must(os.ReadFile(data + name)))
	return block.Bytes
}

func load(name string) *x509.Certificate { return must(x509.ParseCertificate(read(name))) }

func main() {
	for name, made := range map[string]*file{"go": makeGo(), "step": makeStep()} {
		if err := os.WriteFile(data+name+".pem", made.Bytes(), 0o644); err != nil {
			panic(err)
		}
	}
}
