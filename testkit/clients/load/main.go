// Load asks a Dapr Sentry for workload certificates, as many daprds would, and tells what became of each call.
//
// It runs until its standard input is closed, or for -duration, lets the calls under way finish, and prints one JSON
// object. Once every caller has had an answer and every idle connection stands, it writes "ready" to standard error.
// A line on standard input has it forget the calls so far and count anew; it then writes "counting" to standard error.
// Nothing is asked twice: what fails once is reported as failed. Only calls that no server has accepted are sent again,
// by grpc-go itself or, if two servers in turn drain, by this client.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

type options struct {
	address, anchors, spiffeID   string
	trustDomain, namespace, app  string
	kept, fresh, idleTCP, idleH2 int
	pace, timeout, duration      time.Duration
	cold                         string
}

func main() {
	var o options
	flag.StringVar(&o.address, "address", "", "host:port of the certificate authority")
	flag.StringVar(&o.anchors, "anchors", "", "file of trust anchors, PEM, one or more")
	flag.StringVar(&o.spiffeID, "spiffe-id", "", "the one URI that the authority's certificate must carry")
	flag.StringVar(&o.trustDomain, "trust-domain", "localhost", "trust domain to ask for")
	flag.StringVar(&o.namespace, "namespace", "default", "namespace to ask for")
	flag.StringVar(&o.app, "app-id", "load", "app ID to ask for")
	flag.IntVar(&o.kept, "kept", 0, "callers that keep their connection")
	flag.IntVar(&o.fresh, "new", 0, "callers that make a connection for every call")
	flag.IntVar(&o.idleTCP, "idle-tcp", 0, "TCP connections that say nothing; made again when closed")
	flag.IntVar(&o.idleH2, "idle-h2", 0, "HTTP/2 connections over TLS without calls; made again when closed")
	flag.DurationVar(&o.pace, "pace", 0, "pause of every caller after each call")
	flag.DurationVar(&o.timeout, "timeout", 10*time.Second, "deadline of a call, connecting included")
	flag.DurationVar(&o.duration, "duration", 0, "how long to run; 0 means until standard input is closed")
	flag.StringVar(&o.cold, "cold", "", "JSON file of pods that each ask for a first certificate at once; nothing else is done")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	authority, err := newAuthority(o.address, o.anchors, o.spiffeID)
	if err != nil {
		return err
	}
	if o.cold != "" {
		found, err := cold(authority, o.cold, o.trustDomain)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(found)
	}
	workload, err := newWorkload(o.trustDomain, o.namespace, o.app)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	tally := newTally()
	go func() {
		if o.duration > 0 {
			time.Sleep(o.duration)
		} else {
			tally.countAnewAtEachLine(os.Stdin)
		}
		stop()
	}()

	var running, unready sync.WaitGroup
	start := func(number int, one func(n int, ready func())) {
		for n := range number {
			unready.Add(1)
			running.Go(func() { one(n, sync.OnceFunc(unready.Done)) })
		}
	}
	call := func(kind *kind, asks func() (asker, error)) func(int, func()) {
		return func(n int, ready func()) {
			c := caller{authority: authority, workload: workload, tally: tally, kind: kind, options: o}
			// Not all at the same moment, again and again.
			if wait(ctx, o.pace*time.Duration(n)/time.Duration(o.kept+o.fresh)) {
				c.loop(ctx, asks, ready)
			}
		}
	}
	start(o.kept, call(&tally.kept, func() (asker, error) { return keepConnection(authority) }))
	start(o.fresh, call(&tally.fresh, func() (asker, error) { return freshConnections{authority}, nil }))
	start(o.idleTCP, func(_ int, ready func()) { tally.idleTCP.idle(ctx, authority.holdTCP, ready) })
	start(o.idleH2, func(_ int, ready func()) { tally.idleH2.idle(ctx, authority.holdH2, ready) })
	go func() {
		unready.Wait()
		fmt.Fprintln(os.Stderr, "ready")
	}()
	<-ctx.Done()
	tally.end()
	running.Wait()
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(tally.report())
}

func (t *tally) countAnewAtEachLine(lines io.Reader) {
	for scanner := bufio.NewScanner(lines); scanner.Scan(); {
		t.countAnew()
		fmt.Fprintln(os.Stderr, "counting")
	}
}

// wait returns false, early, when the context ends.
func wait(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}
