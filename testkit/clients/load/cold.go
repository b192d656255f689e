package main

import (
	"context"
	"encoding/json"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// pod is who asks once, for the first time: its token is its own.
type pod struct {
	Namespace string `json:"namespace"`
	App       string `json:"app"`
	Token     string `json:"token"`
}

// A sidecar tries so often, for so long each time, and waits a little longer from try to try.
const (
	coldTries   = 5
	coldTimeout = 3 * time.Second
	coldPause   = 50 * time.Millisecond
)

// coldReport is what became of a mesh that starts at once.
type coldReport struct {
	Seconds float64    `json:"seconds"`
	Tries   int        `json:"tries"`
	Pods    kindReport `json:"pods"`
}

// cold has every pod of a file ask at the same moment, each on a connection of its own, and again where a sidecar would:
// where it was told to come back, or not told in time.
func cold(a *authority, file, trustDomain string) (*coldReport, error) {
	pods, workloads, err := readPods(file, trustDomain)
	if err != nil {
		return nil, err
	}
	tally, tries := newTally(), 0
	var counting sync.Mutex
	var running sync.WaitGroup
	begin := make(chan struct{})
	for n := range pods {
		running.Go(func() {
			<-begin
			start := time.Now()
			issuer, tried, err := firstCertificate(a, workloads[n])
			if err != nil {
				tally.failed(&tally.fresh, err)
			} else {
				tally.succeeded(&tally.fresh, time.Since(start), issuer)
			}
			counting.Lock()
			defer counting.Unlock()
			tries += tried
		})
	}
	tally.countAnew()
	close(begin)
	running.Wait()
	tally.end()
	return &coldReport{tally.ended.Sub(tally.begin).Seconds(), tries, tally.fresh.report()}, nil
}

func readPods(file, trustDomain string) ([]pod, []*workload, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, err
	}
	var pods []pod
	if err := json.Unmarshal(data, &pods); err != nil {
		return nil, nil, err
	}
	workloads := make([]*workload, len(pods))
	for n, each := range pods {
		if workloads[n], err = newWorkload(trustDomain, each.Namespace, each.App); err != nil {
			return nil, nil, err
		}
		workloads[n].request = withToken(workloads[n].request, each.Token)
	}
	return pods, workloads, nil
}

func firstCertificate(a *authority, w *workload) (issuer string, tried int, err error) {
	for tried = 1; ; tried++ {
		if issuer, err = tryOnce(a, w); err == nil || tried == coldTries {
			return issuer, tried, err
		}
		switch status.Code(err) {
		case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded:
			time.Sleep(coldPause * time.Duration(tried))
		default:
			return "", tried, err
		}
	}
}

func tryOnce(a *authority, w *workload) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), coldTimeout)
	defer cancel()
	answer, err := freshConnections{a}.ask(ctx, w.request)
	if err != nil {
		return "", err
	}
	return w.check(answer, a.anchors)
}
