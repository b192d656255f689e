package main

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// The fields of dapr/proto/sentry/v1/sentry.proto that are used here; two messages need no generated code.
const (
	requestID             protowire.Number = 1
	requestToken          protowire.Number = 2
	requestTrustDomain    protowire.Number = 3
	requestNamespace      protowire.Number = 4
	requestCSR            protowire.Number = 5
	requestTokenValidator protowire.Number = 6

	responseCertificate protowire.Number = 1
	responseAnchors     protowire.Number = 2

	validatorInsecure   = 1
	validatorKubernetes = 2
)

type response struct {
	certificate []byte   // leaf and issuer chain, PEM
	anchors     [][]byte // PEM
}

func writeRequest(trustDomain, namespace, app string, csr []byte) []byte {
	var b []byte
	for _, field := range []struct {
		number protowire.Number
		value  []byte
	}{
		{requestID, []byte(app)},
		{requestTrustDomain, []byte(trustDomain)},
		{requestNamespace, []byte(namespace)},
		{requestCSR, csr},
	} {
		b = protowire.AppendTag(b, field.number, protowire.BytesType)
		b = protowire.AppendBytes(b, field.value)
	}
	b = protowire.AppendTag(b, requestTokenValidator, protowire.VarintType)
	return protowire.AppendVarint(b, validatorInsecure)
}

// withToken adds a pod's token, and who is to check it: of a field that comes twice the last one counts.
func withToken(request []byte, token string) []byte {
	b := protowire.AppendTag(request, requestToken, protowire.BytesType)
	b = protowire.AppendString(b, token)
	b = protowire.AppendTag(b, requestTokenValidator, protowire.VarintType)
	return protowire.AppendVarint(b, validatorKubernetes)
}

func readResponse(b []byte) (response, error) {
	var r response
	for len(b) > 0 {
		number, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return r, protowire.ParseError(size)
		}
		b = b[size:]
		size = protowire.ConsumeFieldValue(number, kind, b)
		if size < 0 {
			return r, protowire.ParseError(size)
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(b)
			switch number {
			case responseCertificate:
				r.certificate = value
			case responseAnchors:
				r.anchors = append(r.anchors, value)
			}
		}
		b = b[size:]
	}
	if r.certificate == nil || r.anchors == nil {
		return r, errors.New("an answer without certificate or trust anchors")
	}
	return r, nil
}

// bytesCodec hands grpc messages that are encoded already.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(message any) ([]byte, error) {
	b, ok := message.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("a message must be bytes, not %T", message)
	}
	return *b, nil
}

func (bytesCodec) Unmarshal(data []byte, message any) error {
	b, ok := message.(*[]byte)
	if !ok {
		return fmt.Errorf("a message must be bytes, not %T", message)
	}
	// The buffer goes back to a pool.
	*b = append([]byte(nil), data...)
	return nil
}
