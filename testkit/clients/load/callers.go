package main

import (
	"context"
	"time"

	"google.golang.org/grpc"
)

// asker makes one call; the time from asking to the answer is what a sidecar would wait.
type asker interface {
	ask(ctx context.Context, request []byte) (response, error)
	close()
}

type keptConnection struct{ channel *grpc.ClientConn }

func keepConnection(a *authority) (asker, error) {
	channel, err := a.dial()
	return keptConnection{channel}, err
}

func (k keptConnection) ask(ctx context.Context, request []byte) (response, error) {
	return sign(ctx, k.channel, request)
}

func (k keptConnection) close() { _ = k.channel.Close() }

type freshConnections struct{ authority *authority }

func (f freshConnections) ask(ctx context.Context, request []byte) (response, error) {
	channel, err := f.authority.dial()
	if err != nil {
		return response{}, err
	}
	defer channel.Close()
	return sign(ctx, channel, request)
}

func (freshConnections) close() {}

type caller struct {
	authority *authority
	workload  *workload
	tally     *tally
	kind      *kind
	options   options
}

// loop calls until the context ends; a call under way is then finished and counts.
func (c *caller) loop(ctx context.Context, asks func() (asker, error), ready func()) {
	defer ready()
	asker, err := asks()
	if err != nil {
		c.tally.failed(c.kind, err)
		return
	}
	defer asker.close()
	for again := true; again; again = wait(ctx, c.options.pace) {
		c.call(asker)
		ready()
	}
}

func (c *caller) call(asker asker) {
	ctx, cancel := context.WithTimeout(context.Background(), c.options.timeout)
	defer cancel()
	begin := time.Now()
	answer, err := asker.ask(ctx, c.workload.request)
	took := time.Since(begin)
	if err != nil {
		c.tally.failed(c.kind, err)
		return
	}
	issuer, err := c.workload.check(answer, c.authority.anchors)
	if err != nil {
		c.tally.failed(c.kind, err)
		return
	}
	c.tally.succeeded(c.kind, took, issuer)
}
