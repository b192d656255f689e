package main

import (
	"slices"
	"sync"
	"time"
)

const errorTexts = 5 // kept of each kind

// tally is what became of all calls.
type tally struct {
	mutex           sync.Mutex
	begin, ended    time.Time
	all             gap
	kept, fresh     kind
	issuers         map[string]int
	idleTCP, idleH2 idlers
}

// kind is what became of the calls of one kind of caller.
type kind struct {
	failures  int
	errors    []string
	latencies []time.Duration
	gap       gap
}

// gap is the longest time without a success: between two, or from the last one to the end.
type gap struct {
	last    time.Time
	longest time.Duration
}

func (g *gap) until(now time.Time) {
	if !g.last.IsZero() {
		g.longest = max(g.longest, now.Sub(g.last))
	}
	g.last = now
}

func newTally() *tally {
	return &tally{begin: time.Now(), issuers: map[string]int{}}
}

// countAnew forgets the calls so far; one that is under way counts when it has ended.
func (t *tally) countAnew() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.begin, t.all = time.Now(), gap{}
	t.kept, t.fresh = kind{}, kind{}
	t.issuers = map[string]int{}
}

func (t *tally) succeeded(k *kind, took time.Duration, issuer string) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	k.latencies = append(k.latencies, took)
	t.issuers[issuer]++
	if t.ended.IsZero() {
		now := time.Now()
		k.gap.until(now)
		t.all.until(now)
	}
}

func (t *tally) failed(k *kind, err error) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	k.failures++
	if text := err.Error(); len(k.errors) < errorTexts && !slices.Contains(k.errors, text) {
		k.errors = append(k.errors, text)
	}
}

// end closes the gaps; what is still under way counts, but not as a gap.
func (t *tally) end() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.ended = time.Now()
	for _, each := range []*gap{&t.kept.gap, &t.fresh.gap, &t.all} {
		each.until(t.ended)
	}
}

type report struct {
	Seconds        float64        `json:"seconds"`
	Kept           kindReport     `json:"kept"`
	New            kindReport     `json:"new"`
	LongestGap     float64        `json:"longest_gap_ms"`
	LeavesVerified int            `json:"leaves_verified"`
	Issuers        map[string]int `json:"issuers"` // by SHA-256 of the certificate
	IdleTCP        idleReport     `json:"idle_tcp"`
	IdleH2         idleReport     `json:"idle_h2"`
}

type kindReport struct {
	Calls      int      `json:"calls"` // those that failed included
	Failures   int      `json:"failures"`
	Errors     []string `json:"errors"` // the first few that differ
	LongestGap float64  `json:"longest_gap_ms"`
	P50        float64  `json:"p50_ms"`
	P99        float64  `json:"p99_ms"`
	Max        float64  `json:"max_ms"`
}

type idleReport struct {
	Opened  int64 `json:"opened"`
	Refused int64 `json:"refused"`
}

func (t *tally) report() report {
	return report{
		Seconds:        t.ended.Sub(t.begin).Seconds(),
		Kept:           t.kept.report(),
		New:            t.fresh.report(),
		LongestGap:     milliseconds(t.all.longest),
		LeavesVerified: len(t.kept.latencies) + len(t.fresh.latencies),
		Issuers:        t.issuers,
		IdleTCP:        idleReport{t.idleTCP.opened.Load(), t.idleTCP.refused.Load()},
		IdleH2:         idleReport{t.idleH2.opened.Load(), t.idleH2.refused.Load()},
	}
}

func (k *kind) report() kindReport {
	slices.Sort(k.latencies)
	return kindReport{
		Calls:      len(k.latencies) + k.failures,
		Failures:   k.failures,
		Errors:     append([]string{}, k.errors...),
		LongestGap: milliseconds(k.gap.longest),
		P50:        milliseconds(quantile(k.latencies, 0.5)),
		P99:        milliseconds(quantile(k.latencies, 0.99)),
		Max:        milliseconds(quantile(k.latencies, 1)),
	}
}

func quantile(sorted []time.Duration, part float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(part*float64(len(sorted))), len(sorted)-1)]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
