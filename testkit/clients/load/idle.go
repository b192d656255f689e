package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/connectivity"
)

// idlers are connections that want nothing and are there all the same.
type idlers struct{ opened, refused atomic.Int64 }

// idle holds one connection open, and makes it again whenever it was closed, until the context ends.
func (i *idlers) idle(ctx context.Context, hold func(context.Context, func()) error, ready func()) {
	defer ready()
	opened := func() {
		i.opened.Add(1)
		ready()
	}
	for ctx.Err() == nil {
		if err := hold(ctx, opened); err != nil && ctx.Err() == nil {
			i.refused.Add(1)
			ready()
			wait(ctx, 100*time.Millisecond)
		}
	}
}

// holdTCP opens a connection and says nothing, until it is closed by the other side.
func (a *authority) holdTCP(ctx context.Context, opened func()) error {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", a.address)
	if err != nil {
		return err
	}
	defer connection.Close()
	defer context.AfterFunc(ctx, func() { connection.Close() })()
	opened()
	// How it ends is no matter: nothing was asked for.
	_, _ = io.Copy(io.Discard, connection)
	return nil
}

// holdH2 opens a channel and calls nothing on it, until it has lost its connection.
func (a *authority) holdH2(ctx context.Context, opened func()) error {
	channel, err := a.dial()
	if err != nil {
		return err
	}
	defer channel.Close()
	for {
		was := channel.GetState()
		switch was {
		case connectivity.Idle:
			channel.Connect()
		case connectivity.Ready:
			opened()
		case connectivity.TransientFailure:
			return fmt.Errorf("cannot connect to %s", a.address)
		}
		if !channel.WaitForStateChange(ctx, was) || was == connectivity.Ready {
			return nil
		}
	}
}
