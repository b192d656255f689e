package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// authority is where certificates are asked for, and how it is recognised: as daprd does, by its chain and by one SPIFFE
// ID, not by a name.
type authority struct {
	address  string
	anchors  *x509.CertPool
	spiffeID string
}

func newAuthority(address, anchorsFile, spiffeID string) (*authority, error) {
	pem, err := os.ReadFile(anchorsFile)
	if err != nil {
		return nil, err
	}
	anchors := x509.NewCertPool()
	if !anchors.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("no certificates in %s", anchorsFile)
	}
	return &authority{address, anchors, spiffeID}, nil
}

// dial makes a channel, which connects with its first call; each channel has one connection at a time.
func (a *authority) dial() (*grpc.ClientConn, error) {
	return grpc.NewClient(
		"passthrough:///"+a.address,
		grpc.WithTransportCredentials(credentials.NewTLS(a.tlsConfig())),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
		grpc.WithNoProxy(),
	)
}

func (a *authority) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		// Go would compare names; chain and identity are checked instead, below.
		InsecureSkipVerify: true,
		VerifyConnection:   a.recognise,
	}
}

func (a *authority) recognise(state tls.ConnectionState) error {
	leaf, intermediates := state.PeerCertificates[0], x509.NewCertPool()
	for _, each := range state.PeerCertificates[1:] {
		intermediates.AddCert(each)
	}
	if _, err := verify(leaf, intermediates, a.anchors); err != nil {
		return fmt.Errorf("the authority's own certificate: %w", err)
	}
	return hasIdentity(leaf, a.spiffeID)
}

func verify(leaf *x509.Certificate, intermediates, anchors *x509.CertPool) ([][]*x509.Certificate, error) {
	return leaf.Verify(x509.VerifyOptions{
		Roots:         anchors,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
}

func hasIdentity(leaf *x509.Certificate, spiffeID string) error {
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != spiffeID {
		return fmt.Errorf("the certificate is for %v and not for %s", leaf.URIs, spiffeID)
	}
	return nil
}

// sign makes one call on a channel.
func sign(ctx context.Context, channel *grpc.ClientConn, request []byte) (response, error) {
	var answer []byte
	const method = "/dapr.proto.sentry.v1.CA/SignCertificate"
	err := errDraining
	for errors.Is(err, errDraining) {
		err = channel.Invoke(ctx, method, &request, &answer, grpc.ForceCodec(bytesCodec{}))
	}
	if err != nil {
		return response{}, err
	}
	return readResponse(answer)
}

// grpc-go sends a call on another connection if a server drains the one that it was for, but only once: on a busy
// machine the next server, too, drains before the client has sent the call. No server has received it then.
var errDraining = status.Error(codes.Unavailable, "the connection is draining")
