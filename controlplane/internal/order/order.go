// Package order starts parts one after the other and stops them in reverse.
package order

import (
	"context"
	"errors"
)

// Part is one of the things that run together.
type Part struct {
	Name string
	// Run works until ctx ends. Returning before that is a failure, with or without an error.
	Run func(ctx context.Context) error
	// Ready returns nil once the next part may start, or an error when ctx ends before that.
	Ready func(ctx context.Context) error
}

// Failure says which part failed, and why.
type Failure struct {
	Name string
	Err  error
}

func (f *Failure) Error() string { return f.Name + ": " + f.Err.Error() }

func (f *Failure) Unwrap() error { return f.Err }

// running is a started part: cancel stops it, ended is closed when it has stopped.
type running struct {
	cancel context.CancelFunc
	ended  chan struct{}
}

// ErrReturned is the failure of a part that returned without an error.
var ErrReturned = errors.New("it ended by itself")

// Run starts each part when the one before it is ready, and stops all in reverse order when ctx ends or one of them
// fails. The result is nil when ctx ended, else a *Failure.
func Run(ctx context.Context, parts []Part) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var started []running
	for _, p := range parts {
		started = append(started, start(p, fail))
		if err := p.Ready(ctx); err != nil && ctx.Err() == nil {
			fail(&Failure{p.Name, err})
		}
		if ctx.Err() != nil {
			break
		}
	}
	<-ctx.Done()
	for i := len(started) - 1; i >= 0; i-- {
		started[i].cancel()
		<-started[i].ended
	}
	// The cause may also be how the caller ended ctx, which is no failure.
	if failed := (*Failure)(nil); errors.As(context.Cause(ctx), &failed) {
		return failed
	}
	return nil
}

// start runs a part under a context of its own, so that a stop can reach the parts one after the other.
func start(p Part, fail context.CancelCauseFunc) running {
	ctx, cancel := context.WithCancel(context.Background())
	r := running{cancel: cancel, ended: make(chan struct{})}
	go func() {
		defer close(r.ended)
		err := p.Run(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = ErrReturned
		}
		fail(&Failure{p.Name, err})
	}()
	return r
}
